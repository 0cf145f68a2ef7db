//! The table `outgoing_mails`: what is to be sent, until it is.

use chrono::{DateTime, NaiveDateTime, Utc};
use diesel::{
    BoolExpressionMethods as _, ExpressionMethods as _, NullableExpressionMethods as _,
    OptionalExtension as _, QueryDsl as _, RunQueryDsl as _,
    dsl::{exists, not},
    sql_types::{Text, Timestamp},
};

use super::{
    Db, DbError,
    connection::AnyConnection,
    schema::{outgoing_mails, users},
};
use crate::domain::Email;

/// What a mail is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MailKind {
    /// Somebody asked to reset the password of this address, which may be
    /// nobody's.
    PasswordReset,
    /// A user's password was changed.
    PasswordChanged,
}

impl MailKind {
    /// How the table and the log name it.
    pub fn name(self) -> &'static str {
        match self {
            Self::PasswordReset => "password_reset",
            Self::PasswordChanged => "password_changed",
        }
    }

    pub(super) fn parse(name: &str) -> Option<Self> {
        [Self::PasswordReset, Self::PasswordChanged]
            .into_iter()
            .find(|kind| kind.name() == name)
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

/// Drops the request for a password reset that waits for an address.
pub(super) fn remove_password_reset(
    connection: &mut AnyConnection,
    email: &Email,
) -> Result<(), DbError> {
    let waiting = outgoing_mails::table
        .filter(outgoing_mails::email.eq(email.as_str()))
        .filter(outgoing_mails::kind.eq(MailKind::PasswordReset.name()));
    diesel::delete(waiting).execute(connection)?;
    Ok(())
}

/// A request, or one more for the address of one that waits: the same work
/// either way, in one statement, so that those who ask at once do not wait for
/// each other in a circle.
const REQUEST_PASSWORD_RESET: &str = "
    INSERT INTO outgoing_mails (kind, email, created_at, due_at, tries)
    VALUES ('password_reset', $1, $2, $3, 0)
    ON CONFLICT (email) WHERE kind = 'password_reset'
    DO UPDATE SET created_at = excluded.created_at";

impl Db {
    /// Asks for a password reset to be mailed, due at `due_at`. One that waits
    /// for the address already stands for both; one that is being sent is looked at
    /// again.
    ///
    /// # Errors
    ///
    /// When the database cannot.
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
            match connection {
                AnyConnection::Sqlite(sqlite) => request.execute(sqlite)?,
                AnyConnection::Postgres(postgres) => request.execute(postgres)?,
            };
            Ok(())
        })
        .await
    }

    /// Whether a mail is due.
    ///
    /// # Errors
    ///
    /// When the database cannot.
    pub async fn has_due_mail(&self, now: DateTime<Utc>) -> Result<bool, DbError> {
        self.read(move |connection| {
            let due: Option<i64> = outgoing_mails::table
                .filter(is_due(now))
                .select(outgoing_mails::id)
                .first(connection)
                .optional()?;
            Ok(due.is_some())
        })
        .await
    }

    /// Removes due requests for a password reset that name an address which is
    /// nobody's, at most `most`, and returns how many there were. All at once:
    /// anybody can make many of them.
    ///
    /// # Errors
    ///
    /// When the database cannot.
    pub async fn remove_mail_for_nobody(
        &self,
        now: DateTime<Utc>,
        most: u32,
    ) -> Result<usize, DbError> {
        let nobodys = self
            .read(move |connection| {
                let ids: Vec<i64> = nobodys_mail(now)
                    .select(outgoing_mails::id)
                    .limit(most.into())
                    .load(connection)?;
                Ok(ids)
            })
            .await?;
        if nobodys.is_empty() {
            return Ok(0);
        }
        self.write(move |connection| {
            // One whose address has become somebody's is kept.
            let still = nobodys_mail(now)
                .filter(outgoing_mails::id.eq_any(nobodys))
                .select(outgoing_mails::id);
            let free: Vec<i64> = match connection {
                AnyConnection::Sqlite(sqlite) => still.load(sqlite)?,
                // One that somebody else works on is waited for by nobody.
                AnyConnection::Postgres(postgres) => {
                    still.for_update().skip_locked().load(postgres)?
                }
            };
            let free = outgoing_mails::table.filter(outgoing_mails::id.eq_any(free));
            Ok(diesel::delete(free).execute(connection)?)
        })
        .await
    }

    /// Makes mails due at `now` that are due after `due_after` or claimed until after
    /// `claimed_after`, which are later than any mail can be under a clock that is
    /// right; returns how many there were.
    ///
    /// # Errors
    ///
    /// When the database cannot.
    pub async fn bound_outgoing_mails(
        &self,
        due_after: DateTime<Utc>,
        claimed_after: DateTime<Utc>,
        now: DateTime<Utc>,
    ) -> Result<usize, DbError> {
        let (due_after, claimed_after) = (due_after.naive_utc(), claimed_after.naive_utc());
        let found = self
            .read(move |connection| {
                let found: Option<i64> = outgoing_mails::table
                    .filter(outgoing_mails::due_at.gt(due_after))
                    .or_filter(
                        outgoing_mails::claimed_until
                            .gt(claimed_after)
                            .assume_not_null(),
                    )
                    .select(outgoing_mails::id)
                    .first(connection)
                    .optional()?;
                Ok(found.is_some())
            })
            .await?;
        if !found {
            return Ok(0);
        }
        self.write(move |connection| {
            let due = outgoing_mails::table.filter(outgoing_mails::due_at.gt(due_after));
            let due = diesel::update(due)
                .set(outgoing_mails::due_at.eq(now.naive_utc()))
                .execute(connection)?;
            let claimed = outgoing_mails::claimed_until.gt(claimed_after);
            let claimed = diesel::update(outgoing_mails::table.filter(claimed))
                .set(outgoing_mails::claimed_until.eq(None::<NaiveDateTime>))
                .execute(connection)?;
            Ok(due + claimed)
        })
        .await
    }
}

/// Whether a mail is due and nobody is sending it.
#[diesel::dsl::auto_type]
pub(super) fn is_due(now: DateTime<Utc>) -> _ {
    let now: NaiveDateTime = now.naive_utc();
    let is_free = outgoing_mails::claimed_until
        .is_null()
        .or(outgoing_mails::claimed_until.le(now).assume_not_null());
    outgoing_mails::due_at.le(now).and(is_free)
}

#[diesel::dsl::auto_type(no_type_alias)]
fn nobodys_mail(now: DateTime<Utc>) -> _ {
    let due: is_due = is_due(now);
    let user = users::table.filter(users::email.eq(outgoing_mails::email));
    outgoing_mails::table
        .filter(due)
        .filter(outgoing_mails::kind.eq("password_reset"))
        .filter(not(exists(user)))
}
