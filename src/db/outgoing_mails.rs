//! The table `outgoing_mails`: what is to be sent, until it is.

use chrono::{DateTime, NaiveDateTime, Utc};
use diesel::{
    BoolExpressionMethods as _, ExpressionMethods as _, NullableExpressionMethods as _,
    OptionalExtension as _, QueryDsl as _, Queryable, RunQueryDsl as _,
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

/// A mail to be sent, and whose it is.
#[derive(Clone, Debug)]
pub struct OutgoingMail {
    /// What it is about.
    pub kind: MailKind,
    /// When its cause took place.
    pub created_at: DateTime<Utc>,
    /// Whom it is for; `None` when the address is nobody's.
    pub user: Option<User>,
}

/// A mail that is this caller's for a while.
#[derive(Debug)]
pub struct Claim {
    /// Names the mail.
    pub id: i64,
    /// How often somebody has tried to send it, this time included.
    pub tries: u32,
    /// The mail; an error where its row, or its user's, cannot be read.
    pub mail: Result<OutgoingMail, DbError>,
}

/// A row, in the order of the table's columns.
#[derive(Queryable)]
struct MailRow {
    id: i64,
    kind: String,
    email: String,
    created_at: NaiveDateTime,
    _due_at: NaiveDateTime,
    _tries: i64,
    _claimed_until: Option<NaiveDateTime>,
}

/// Adds a mail, due at once.
pub(super) fn add(
    connection: &mut AnyConnection,
    kind: MailKind,
    email: &Email,
    at: DateTime<Utc>,
) -> Result<(), DbError> {
    add_due_at(connection, kind, email, at, at)
}

fn add_due_at(
    connection: &mut AnyConnection,
    kind: MailKind,
    email: &Email,
    at: DateTime<Utc>,
    due_at: DateTime<Utc>,
) -> Result<(), DbError> {
    diesel::insert_into(outgoing_mails::table)
        .values((
            outgoing_mails::kind.eq(kind.name()),
            outgoing_mails::email.eq(email.as_str()),
            outgoing_mails::created_at.eq(at.naive_utc()),
            outgoing_mails::due_at.eq(due_at.naive_utc()),
            outgoing_mails::tries.eq(0_i64),
        ))
        .execute(connection)?;
    Ok(())
}

/// Drops the mails of a kind that wait for an address.
pub(super) fn remove_waiting(
    connection: &mut AnyConnection,
    kind: MailKind,
    email: &Email,
) -> Result<(), DbError> {
    let waiting = outgoing_mails::table
        .filter(outgoing_mails::email.eq(email.as_str()))
        .filter(outgoing_mails::kind.eq(kind.name()));
    diesel::delete(waiting).execute(connection)?;
    Ok(())
}

impl Db {
    /// Asks for a mail, to be due at `due_at`. One of the kind that waits for
    /// the address already stands for both; one that is being sent does not.
    ///
    /// # Errors
    ///
    /// When the database cannot.
    pub async fn request_mail(
        &self,
        kind: MailKind,
        email: Email,
        at: DateTime<Utc>,
        due_at: DateTime<Utc>,
    ) -> Result<(), DbError> {
        self.write(move |connection| {
            let waiting = outgoing_mails::table
                .filter(outgoing_mails::email.eq(email.as_str()))
                .filter(outgoing_mails::kind.eq(kind.name()))
                .filter(outgoing_mails::claimed_until.is_null());
            let waits = diesel::update(waiting)
                .set(outgoing_mails::created_at.eq(at.naive_utc()))
                .execute(connection)?;
            if waits == 0 {
                return add_due_at(connection, kind, &email, at, due_at);
            }
            // It need not wait for the next try any more.
            diesel::update(waiting.filter(outgoing_mails::due_at.gt(due_at.naive_utc())))
                .set(outgoing_mails::due_at.eq(due_at.naive_utc()))
                .execute(connection)?;
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
    /// nobody's, at most `most`. All at once: anybody can make many of them.
    ///
    /// # Errors
    ///
    /// When the database cannot.
    pub async fn remove_mail_for_nobody(
        &self,
        now: DateTime<Utc>,
        most: u32,
    ) -> Result<(), DbError> {
        let nobodys: Vec<i64> = self
            .read(move |connection| {
                let user = users::table.filter(users::email.eq(outgoing_mails::email));
                Ok(outgoing_mails::table
                    .filter(is_due(now))
                    .filter(outgoing_mails::kind.eq(MailKind::PasswordReset.name()))
                    .filter(not(exists(user)))
                    .select(outgoing_mails::id)
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

    /// Takes a mail that is due, which is nobody else's then until `until`;
    /// one that was tried least often, so that those which cannot be sent are
    /// in nobody's way. Where it is about a password reset, its user is given
    /// the reset token in the same unit of work. `None` when none is due.
    ///
    /// # Errors
    ///
    /// When the database cannot.
    pub async fn claim_outgoing_mail(
        &self,
        now: DateTime<Utc>,
        until: DateTime<Utc>,
        reset: PendingReset,
    ) -> Result<Option<Claim>, DbError> {
        self.write(move |connection| {
            let next: Option<(i64, i64)> = outgoing_mails::table
                .filter(is_due(now))
                .select((outgoing_mails::id, outgoing_mails::tries))
                .order((
                    outgoing_mails::tries,
                    outgoing_mails::due_at,
                    outgoing_mails::id,
                ))
                .first(connection)
                .optional()?;
            let Some((id, tries)) = next else {
                return Ok(None);
            };
            let tries = tries.saturating_add(1);
            let unclaimed = outgoing_mails::table.find(id).filter(is_due(now));
            let claimed = diesel::update(unclaimed)
                .set((
                    outgoing_mails::claimed_until.eq(until.naive_utc()),
                    outgoing_mails::tries.eq(tries),
                ))
                .execute(connection)?;
            if claimed == 0 {
                // Another node has it.
                return Ok(None);
            }
            let mail = match read(connection, id, reset) {
                Err(unavailable @ DbError::Unavailable(_)) => return Err(unavailable),
                mail => mail,
            };
            Ok(Some(Claim {
                id,
                tries: u32::try_from(tries).unwrap_or(u32::MAX),
                mail,
            }))
        })
        .await
    }

    /// Removes a mail that is sent, or given up.
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

    /// Gives a mail that could not be sent free again, due at a time.
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
                .set((
                    outgoing_mails::due_at.eq(due_at.naive_utc()),
                    outgoing_mails::claimed_until.eq(None::<NaiveDateTime>),
                ))
                .execute(connection)?;
            Ok(())
        })
        .await
    }
}

/// Whether a mail is due and nobody is sending it.
#[diesel::dsl::auto_type(no_type_alias)]
fn is_due(now: DateTime<Utc>) -> _ {
    let now: NaiveDateTime = now.naive_utc();
    let is_free = outgoing_mails::claimed_until
        .is_null()
        .or(outgoing_mails::claimed_until.le(now).assume_not_null());
    outgoing_mails::due_at.le(now).and(is_free)
}

fn read(
    connection: &mut AnyConnection,
    id: i64,
    reset: PendingReset,
) -> Result<OutgoingMail, DbError> {
    let row: MailRow = outgoing_mails::table.find(id).first(connection)?;
    let unfit =
        |what: &str| DbError::Fault(format!("the outgoing mail {} has no {what}", row.id).into());
    let kind = MailKind::parse(&row.kind).ok_or_else(|| unfit("kind"))?;
    let email = Email::parse(&row.email).map_err(|_| unfit("e-mail"))?;
    let user = find(connection, &UserBy::Email(email))?;
    if let (MailKind::PasswordReset, Some(user)) = (kind, &user) {
        set_reset(connection, user.id, Some(reset))?;
    }
    Ok(OutgoingMail {
        kind,
        created_at: row.created_at.and_utc(),
        user,
    })
}
