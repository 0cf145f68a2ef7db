//! The table `outgoing_mails`: mails that have not been sent yet.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, PoisonError},
};

use chrono::{DateTime, NaiveDateTime, Utc};
use diesel::{
    BoolExpressionMethods as _, ExpressionMethods as _, NullableExpressionMethods as _,
    OptionalExtension as _, QueryDsl as _, RunQueryDsl as _,
    sql_types::{Text, Timestamp},
};

use super::{
    Db, DbError,
    batch_change::{Batch, Change},
    connection::{AnyConnection, on_backend},
    readable::Readable,
    schema::outgoing_mails,
};
use crate::domain::Email;

/// The most kinds of a later version that are logged.
const MAX_LOGGED_KINDS: usize = 16;

/// The subject of a mail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MailKind {
    /// A request to reset the password of an address, which may belong to no user.
    PasswordReset,
    /// A notice that a user's password was changed.
    PasswordChanged,
}

impl MailKind {
    const ALL: [Self; 2] = [Self::PasswordReset, Self::PasswordChanged];

    /// The name in the table and in the log.
    pub fn name(self) -> &'static str {
        match self {
            Self::PasswordReset => "password_reset",
            Self::PasswordChanged => "password_changed",
        }
    }

    pub(super) fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }
}

/// The kinds of mail in the table that this version does not know, each logged once. Their
/// mails are left to the nodes of a later version that share the database.
#[derive(Clone, Default)]
pub(super) struct UnknownKinds(Arc<Mutex<BTreeSet<String>>>);

impl UnknownKinds {
    fn log(&self, kind: Option<String>) {
        let kind = kind.unwrap_or_else(|| "not UTF-8".to_owned());
        let mut logged = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if logged.len() < MAX_LOGGED_KINDS && logged.insert(kind.clone()) {
            tracing::warn!(
                table = "outgoing_mails",
                kind = ?kind,
                "mails of a kind that this version does not know are left unsent"
            );
        }
    }
}

/// Adds a mail, due at once.
pub(super) fn add(
    connection: &mut AnyConnection,
    kind: MailKind,
    email: &Email,
    at: DateTime<Utc>,
) -> Result<(), DbError> {
    diesel::insert_into(outgoing_mails::table)
        .values((
            outgoing_mails::kind.eq(kind.name()),
            outgoing_mails::email.eq(email.as_str()),
            outgoing_mails::created_at.eq(at.naive_utc()),
            outgoing_mails::due_at.eq(at.naive_utc()),
            outgoing_mails::tries.eq(0_i64),
        ))
        .execute(connection)?;
    Ok(())
}

/// Removes a mail. One requested again since `created_at` stays and is due again.
pub(super) fn remove(
    connection: &mut AnyConnection,
    id: i64,
    created_at: Option<DateTime<Utc>>,
) -> Result<(), DbError> {
    let mail = outgoing_mails::table.find(id);
    let Some(created_at) = created_at else {
        diesel::delete(mail).execute(connection)?;
        return Ok(());
    };
    let same = mail.filter(outgoing_mails::created_at.eq(created_at.naive_utc()));
    if diesel::delete(same).execute(connection)? == 0 {
        diesel::update(mail)
            .set((
                outgoing_mails::tries.eq(0_i64),
                outgoing_mails::claimed_until.eq(None::<NaiveDateTime>),
            ))
            .execute(connection)?;
    }
    Ok(())
}

/// Removes the pending request for a password reset of an address.
pub(super) fn remove_password_reset(
    connection: &mut AnyConnection,
    email: &Email,
) -> Result<(), DbError> {
    let pending = outgoing_mails::table
        .filter(outgoing_mails::email.eq(email.as_str()))
        .filter(outgoing_mails::kind.eq(MailKind::PasswordReset.name()));
    diesel::delete(pending).execute(connection)?;
    Ok(())
}

/// Adds a request, or renews the pending one for the address: the same work in both cases,
/// and in one statement, so that concurrent requests cannot deadlock.
const REQUEST_PASSWORD_RESET: &str = "
    INSERT INTO outgoing_mails (kind, email, created_at, due_at, tries)
    VALUES ('password_reset', $1, $2, $3, 0)
    ON CONFLICT (email) WHERE kind = 'password_reset'
    DO UPDATE SET created_at = excluded.created_at";

impl Db {
    /// Adds a request to mail a reset token, due at `due_at`. A pending request for the
    /// address stands for both; one in delivery becomes due again.
    ///
    /// # Errors
    ///
    /// When the database fails.
    pub async fn request_password_reset(
        &self,
        email: Email,
        at: DateTime<Utc>,
        due_at: DateTime<Utc>,
    ) -> Result<(), DbError> {
        self.write(move |connection| {
            let request = diesel::sql_query(REQUEST_PASSWORD_RESET)
                .bind::<Text, _>(email.as_str())
                .bind::<Timestamp, _>(at.naive_utc())
                .bind::<Timestamp, _>(due_at.naive_utc());
            on_backend!(connection, |backend| request.execute(backend))?;
            Ok(())
        })
        .await
    }

    /// Whether a mail is due that this version can send.
    ///
    /// # Errors
    ///
    /// When the database fails.
    pub async fn has_due_mail(&self, now: DateTime<Utc>) -> Result<bool, DbError> {
        let unknown_kinds = self.unknown_kinds.clone();
        self.read(move |connection| {
            let first: Option<Readable<String>> = outgoing_mails::table
                .filter(is_due(now))
                .select(outgoing_mails::kind)
                .first(connection)
                .optional()?;
            let Some(kind) = first else {
                return Ok(false);
            };
            let kind = kind.ok();
            if kind.as_deref().and_then(MailKind::parse).is_some() {
                return Ok(true);
            }
            unknown_kinds.log(kind);
            let known: Option<i64> = outgoing_mails::table
                .filter(is_due(now))
                .filter(has_known_kind())
                .select(outgoing_mails::id)
                .first(connection)
                .optional()?;
            Ok(known.is_some())
        })
        .await
    }

    /// Removes at most `limit` due requests for a password reset whose address belongs to no
    /// user, and returns their number. They are removed in batches since any caller can
    /// create many of them.
    ///
    /// # Errors
    ///
    /// When the database fails.
    pub async fn remove_mail_without_user(
        &self,
        now: DateTime<Utc>,
        limit: u32,
    ) -> Result<usize, DbError> {
        let batch = Batch {
            table: "outgoing_mails",
            key: "id",
            condition: "due_at <= $1 AND (claimed_until IS NULL OR claimed_until <= $2)
                AND kind = 'password_reset'
                AND NOT EXISTS (SELECT 1 FROM users WHERE users.email = outgoing_mails.email)",
            times: [now.naive_utc(); 2],
            change: Change::Delete,
        };
        self.change_batch(batch, limit).await
    }

    /// Removes a sent or undeliverable mail. With a `created_at`, a mail requested again since
    /// then stays and is due again.
    ///
    /// # Errors
    ///
    /// When the database fails.
    pub async fn remove_outgoing_mail(
        &self,
        id: i64,
        created_at: Option<DateTime<Utc>>,
    ) -> Result<(), DbError> {
        self.write(move |connection| remove(connection, id, created_at))
            .await
    }

    /// Releases a claimed mail that could not be sent, due again at a later time.
    ///
    /// # Errors
    ///
    /// When the database fails.
    pub async fn postpone_outgoing_mail(
        &self,
        id: i64,
        due_at: DateTime<Utc>,
    ) -> Result<(), DbError> {
        self.write(move |connection| {
            diesel::update(outgoing_mails::table.find(id))
                .set((
                    outgoing_mails::due_at.eq(due_at.naive_utc()),
                    outgoing_mails::claimed_until.eq(None::<NaiveDateTime>),
                ))
                .execute(connection)?;
            Ok(())
        })
        .await
    }

    /// Makes mails due at `now` that are due after `due_after` or claimed until after
    /// `claimed_after`, later than a correct clock would have set. At most `limit` mails are
    /// changed; returns their number.
    ///
    /// # Errors
    ///
    /// When the database fails.
    pub async fn bound_outgoing_mails(
        &self,
        due_after: DateTime<Utc>,
        claimed_after: DateTime<Utc>,
        now: DateTime<Utc>,
        limit: u32,
    ) -> Result<usize, DbError> {
        let batch = Batch {
            table: "outgoing_mails",
            key: "id",
            condition: "due_at > $1 OR claimed_until > $2",
            times: [due_after.naive_utc(), claimed_after.naive_utc()],
            change: Change::SetByTime(
                "due_at = CASE WHEN due_at > $1 THEN $3 ELSE due_at END,
                 claimed_until = CASE WHEN claimed_until > $2 THEN NULL ELSE claimed_until END",
                now.naive_utc(),
            ),
        };
        self.change_batch(batch, limit).await
    }
}

/// Whether a mail is due and not claimed.
#[diesel::dsl::auto_type]
pub(super) fn is_due(now: DateTime<Utc>) -> _ {
    let now: NaiveDateTime = now.naive_utc();
    let is_free = outgoing_mails::claimed_until
        .is_null()
        .or(outgoing_mails::claimed_until.le(now).assume_not_null());
    outgoing_mails::due_at.le(now).and(is_free)
}

/// Whether this version can send a mail.
#[diesel::dsl::auto_type]
pub(super) fn has_known_kind() -> _ {
    let known: [&'static str; 2] = MailKind::ALL.map(MailKind::name);
    outgoing_mails::kind.eq_any(known)
}
