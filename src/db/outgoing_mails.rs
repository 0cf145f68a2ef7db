//! The table `outgoing_mails`: what is to be sent, until it is.

use chrono::{DateTime, NaiveDateTime, Utc};
use diesel::{
    ExpressionMethods as _, OptionalExtension as _, QueryDsl as _, Queryable, RunQueryDsl as _,
    dsl::{exists, not},
};

use super::{
    Db, DbError,
    connection::AnyConnection,
    schema::{outgoing_mails, users},
    users::{UserBy, find, set_reset},
};
use crate::domain::{Email, PendingReset, User};

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

    fn parse(name: &str) -> Option<Self> {
        [Self::PasswordReset, Self::PasswordChanged]
            .into_iter()
            .find(|kind| kind.name() == name)
    }
}

/// A mail to be sent.
#[derive(Clone, Debug)]
pub struct OutgoingMail {
    /// Names it.
    pub id: i64,
    /// What it is about.
    pub kind: MailKind,
    /// Whom it is for.
    pub email: Email,
    /// When its cause took place.
    pub created_at: DateTime<Utc>,
    /// How often somebody has tried to send it, this time included.
    pub tries: u32,
}

/// A row, in the order of the table's columns.
#[derive(Queryable)]
struct MailRow {
    id: i64,
    kind: String,
    email: String,
    created_at: NaiveDateTime,
    due_at: NaiveDateTime,
    tries: i64,
}

impl TryFrom<MailRow> for OutgoingMail {
    type Error = DbError;

    fn try_from(row: MailRow) -> Result<Self, DbError> {
        let unfit = |what: &str| {
            DbError::Fault(format!("the outgoing mail {} has no {what}", row.id).into())
        };
        Ok(Self {
            id: row.id,
            kind: MailKind::parse(&row.kind).ok_or_else(|| unfit("kind"))?,
            email: Email::parse(&row.email).map_err(|_| unfit("e-mail"))?,
            created_at: row.created_at.and_utc(),
            tries: u32::try_from(row.tries).unwrap_or(u32::MAX),
        })
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

impl Db {
    /// Adds a mail, due at once.
    ///
    /// # Errors
    ///
    /// When the database cannot.
    pub async fn add_outgoing_mail(
        &self,
        kind: MailKind,
        email: Email,
        at: DateTime<Utc>,
    ) -> Result<(), DbError> {
        self.write(move |connection| add(connection, kind, &email, at))
            .await
    }

    /// Whether a mail is due.
    ///
    /// # Errors
    ///
    /// When the database cannot.
    pub async fn has_due_mail(&self, now: DateTime<Utc>) -> Result<bool, DbError> {
        self.read(move |connection| Ok(next_due(connection, now)?.is_some()))
            .await
    }

    /// Removes requests for a password reset that name an address which is
    /// nobody's, at most `most`. All at once: anybody can make many of them.
    ///
    /// # Errors
    ///
    /// When the database cannot.
    pub async fn remove_mail_for_nobody(&self, most: u32) -> Result<(), DbError> {
        let nobodys: Vec<i64> = self
            .read(move |connection| {
                let user = users::table.filter(users::email.eq(outgoing_mails::email));
                Ok(outgoing_mails::table
                    .filter(outgoing_mails::kind.eq(MailKind::PasswordReset.name()))
                    .filter(not(exists(user)))
                    .select(outgoing_mails::id)
                    .order(outgoing_mails::id)
                    .limit(most.into())
                    .load(connection)?)
            })
            .await?;
        if nobodys.is_empty() {
            return Ok(());
        }
        self.write(move |connection| {
            let nobodys = outgoing_mails::table.filter(outgoing_mails::id.eq_any(nobodys));
            diesel::delete(nobodys).execute(connection)?;
            Ok(())
        })
        .await
    }

    /// Takes the mail that has been due longest, which is nobody else's then
    /// until `until`, and finds its user. For a password reset the user is
    /// given the reset token in the same unit of work, and other mails that
    /// wait to do the same for the address are dropped. `None` when none is
    /// due.
    ///
    /// # Errors
    ///
    /// When the database cannot.
    pub async fn claim_outgoing_mail(
        &self,
        now: DateTime<Utc>,
        until: DateTime<Utc>,
        reset: PendingReset,
    ) -> Result<Option<(OutgoingMail, Option<User>)>, DbError> {
        self.write(move |connection| {
            let Some(row) = next_due(connection, now)? else {
                return Ok(None);
            };
            let unclaimed = outgoing_mails::table
                .find(row.id)
                .filter(outgoing_mails::due_at.eq(row.due_at));
            let tries = row.tries.saturating_add(1);
            let claimed = diesel::update(unclaimed)
                .set((
                    outgoing_mails::due_at.eq(until.naive_utc()),
                    outgoing_mails::tries.eq(tries),
                ))
                .execute(connection)?;
            if claimed == 0 {
                // Another node has it.
                return Ok(None);
            }
            let mail = OutgoingMail::try_from(MailRow { tries, ..row })?;
            let user = find(connection, &UserBy::Email(mail.email.clone()))?;
            if mail.kind == MailKind::PasswordReset {
                drop_others(connection, &mail)?;
                if let Some(user) = &user {
                    set_reset(connection, user.id, Some(reset))?;
                }
            }
            Ok(Some((mail, user)))
        })
        .await
    }

    /// Removes a mail that is sent, or that is for nobody.
    ///
    /// # Errors
    ///
    /// When the database cannot.
    pub async fn remove_outgoing_mail(&self, id: i64) -> Result<(), DbError> {
        self.write(move |connection| {
            diesel::delete(outgoing_mails::table.find(id)).execute(connection)?;
            Ok(())
        })
        .await
    }

    /// Makes a mail that could not be sent due again at a time.
    ///
    /// # Errors
    ///
    /// When the database cannot.
    pub async fn postpone_outgoing_mail(
        &self,
        id: i64,
        due_at: DateTime<Utc>,
    ) -> Result<(), DbError> {
        self.write(move |connection| {
            diesel::update(outgoing_mails::table.find(id))
                .set(outgoing_mails::due_at.eq(due_at.naive_utc()))
                .execute(connection)?;
            Ok(())
        })
        .await
    }
}

fn next_due(
    connection: &mut AnyConnection,
    now: DateTime<Utc>,
) -> Result<Option<MailRow>, DbError> {
    Ok(outgoing_mails::table
        .filter(outgoing_mails::due_at.le(now.naive_utc()))
        .order((outgoing_mails::due_at, outgoing_mails::id))
        .first(connection)
        .optional()?)
}

/// One mail with the newest token is enough for whoever asked many times.
fn drop_others(connection: &mut AnyConnection, mail: &OutgoingMail) -> Result<(), DbError> {
    let others = outgoing_mails::table
        .filter(outgoing_mails::email.eq(mail.email.as_str()))
        .filter(outgoing_mails::kind.eq(mail.kind.name()))
        .filter(outgoing_mails::id.ne(mail.id));
    diesel::delete(others).execute(connection)?;
    Ok(())
}
