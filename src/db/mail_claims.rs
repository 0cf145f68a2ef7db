//! Who sends an outgoing mail, and what becomes of it.

use std::time::Duration;

use chrono::{DateTime, NaiveDateTime, Utc};
use diesel::{
    ExpressionMethods as _, OptionalExtension as _, QueryDsl as _, Queryable, RunQueryDsl as _,
};

use super::{
    Db, DbError,
    connection::AnyConnection,
    outgoing_mails::{MailKind, is_due},
    readable::Readable,
    reset_tokens,
    schema::outgoing_mails,
    users::{UserBy, find, hold_if_free},
};
use crate::domain::{Email, NewReset, ResetDigest, User};

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
    /// The reset token that its user was given for it, where it is a mail with one.
    pub reset: Option<NewReset>,
}

/// What became of an attempt to take a mail.
#[derive(Debug)]
pub enum Claimed {
    /// None is due.
    Nothing,
    /// The one that was due needs no sending now: its user is being changed, another
    /// node has it, or it asks for a reset token and one was mailed a moment ago. There
    /// may be others.
    Skipped,
    /// It is this caller's.
    Mail(Box<Claim>),
}

/// A reset token for a mail that turns out to need one.
#[derive(Clone, Copy, Debug)]
pub struct OfferedReset<F> {
    /// Where one was mailed to the user after this moment, another is not.
    pub unless_mailed_since: DateTime<Utc>,
    /// Makes the token. It is called only for a mail that has one.
    pub make: F,
}

/// Which of the mails that are due to take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Preference {
    /// The one that was tried least often, so that those which cannot be sent
    /// are in nobody's way.
    Fresh,
    /// The one that has been due longest, so that no stream of fresh ones keeps
    /// it waiting.
    LongestDue,
}

/// How long to leave a mail alone whose user somebody else is changing.
const BUSY: Duration = Duration::from_secs(1);

#[derive(Queryable)]
struct MailRow {
    kind: Readable<String>,
    created_at: Readable<NaiveDateTime>,
}

/// Whose an address is.
enum Whose {
    Nobody,
    Somebody(Box<User>),
    /// Somebody's whom another unit of work is changing.
    Busy,
}

impl Db {
    /// Takes a mail that is due, which is nobody else's then until `until`.
    /// Where it is about a password reset, its user is given the reset token in
    /// the same unit of work, unless one was mailed to them a moment ago: then the
    /// request is removed. Where its user is being changed, it is due again in a second.
    ///
    /// # Errors
    ///
    /// When the database cannot.
    pub async fn claim_outgoing_mail(
        &self,
        preference: Preference,
        now: DateTime<Utc>,
        until: DateTime<Utc>,
        offered: OfferedReset<impl FnOnce() -> Result<NewReset, getrandom::Error> + Send + 'static>,
    ) -> Result<Claimed, DbError> {
        self.write(move |connection| {
            let Some(id) = next_due(connection, preference, now)? else {
                return Ok(Claimed::Nothing);
            };
            let unclaimed = outgoing_mails::table.find(id).filter(is_due(now));
            // The user before the mail, as everybody does who takes both.
            let user = match find_free(connection, id) {
                Err(unavailable @ DbError::Unavailable(_)) => return Err(unavailable),
                Ok(Whose::Busy) => {
                    diesel::update(unclaimed)
                        .set(outgoing_mails::due_at.eq((now + BUSY).naive_utc()))
                        .execute(connection)?;
                    return Ok(Claimed::Skipped);
                }
                Ok(Whose::Nobody) => Ok(None),
                Ok(Whose::Somebody(user)) => Ok(Some(*user)),
                Err(fault) => Err(fault),
            };
            let tries: Option<i64> = unclaimed
                .select(outgoing_mails::tries)
                .first(connection)
                .optional()?;
            let Some(tries) = tries.map(|tries| tries.max(0).saturating_add(1)) else {
                return Ok(Claimed::Skipped);
            };
            let claimed = diesel::update(unclaimed)
                .set((
                    outgoing_mails::claimed_until.eq(until.naive_utc()),
                    outgoing_mails::tries.eq(tries),
                ))
                .execute(connection)?;
            if claimed == 0 {
                // Another node has it.
                return Ok(Claimed::Skipped);
            }
            let mail = match user.and_then(|user| read(connection, id, user)) {
                Err(unavailable @ DbError::Unavailable(_)) => return Err(unavailable),
                mail => mail,
            };
            let mut reset = None;
            if let Ok(OutgoingMail {
                kind: MailKind::PasswordReset,
                user: Some(user),
                ..
            }) = &mail
            {
                if user
                    .resets
                    .were_mailed_since(offered.unless_mailed_since, now)
                {
                    diesel::delete(outgoing_mails::table.find(id)).execute(connection)?;
                    return Ok(Claimed::Skipped);
                }
                let made = (offered.make)().map_err(|error| DbError::Fault(error.into()))?;
                reset_tokens::add(connection, user, made.pending, now)?;
                reset = Some(made);
            }
            Ok(Claimed::Mail(Box::new(Claim {
                id,
                tries: u32::try_from(tries).unwrap_or(u32::MAX),
                mail,
                reset,
            })))
        })
        .await
    }

    /// Removes a mail that is sent, or given up. One that was asked for again
    /// since `created_at` is due again instead.
    ///
    /// # Errors
    ///
    /// When the database cannot.
    pub async fn remove_outgoing_mail(
        &self,
        id: i64,
        created_at: Option<DateTime<Utc>>,
    ) -> Result<(), DbError> {
        self.write(move |connection| remove(connection, id, created_at))
            .await
    }

    /// The same of a mail with a reset token, which is noted to have been mailed.
    ///
    /// # Errors
    ///
    /// When the database cannot.
    pub async fn remove_mailed_reset(
        &self,
        id: i64,
        created_at: DateTime<Utc>,
        digest: ResetDigest,
        mailed_at: DateTime<Utc>,
    ) -> Result<(), DbError> {
        self.write(move |connection| {
            // The user before the mail.
            reset_tokens::note_mailed(connection, digest, mailed_at)?;
            remove(connection, id, Some(created_at))
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

fn remove(
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

/// By its id alone: what else is in its row may be damaged.
fn next_due(
    connection: &mut AnyConnection,
    preference: Preference,
    now: DateTime<Utc>,
) -> Result<Option<i64>, DbError> {
    let due = outgoing_mails::table
        .filter(is_due(now))
        .select(outgoing_mails::id);
    Ok(match preference {
        Preference::Fresh => due
            .order((outgoing_mails::tries, outgoing_mails::due_at))
            .first(connection),
        Preference::LongestDue => due.order(outgoing_mails::due_at).first(connection),
    }
    .optional()?)
}

/// The user whom a mail is for, held; nobody is waited for.
fn find_free(connection: &mut AnyConnection, id: i64) -> Result<Whose, DbError> {
    let email: Option<Readable<String>> = outgoing_mails::table
        .find(id)
        .select(outgoing_mails::email)
        .first(connection)
        .optional()?;
    let email = email.and_then(Readable::ok);
    let email = email.and_then(|email| Email::parse(&email).ok());
    let email = email.ok_or_else(|| unfit(id, "email"))?;
    let Some(user) = find(connection, &UserBy::Email(email))? else {
        return Ok(Whose::Nobody);
    };
    Ok(match hold_if_free(connection, user.id)? {
        Some(user) => Whose::Somebody(Box::new(user)),
        None => Whose::Busy,
    })
}

fn unfit(id: i64, what: &str) -> DbError {
    DbError::Fault(format!("the row {id} of outgoing_mails has no readable {what}").into())
}

fn read(
    connection: &mut AnyConnection,
    id: i64,
    user: Option<User>,
) -> Result<OutgoingMail, DbError> {
    let row: MailRow = outgoing_mails::table
        .find(id)
        .select((outgoing_mails::kind, outgoing_mails::created_at))
        .first(connection)?;
    let kind = row.kind.ok().and_then(|kind| MailKind::parse(&kind));
    let created_at = row.created_at.ok();
    Ok(OutgoingMail {
        kind: kind.ok_or_else(|| unfit(id, "kind"))?,
        created_at: created_at.ok_or_else(|| unfit(id, "created_at"))?.and_utc(),
        user,
    })
}
