//! Claiming an outgoing mail for sending, and recording that it was sent.

use std::time::Duration;

use chrono::{DateTime, NaiveDateTime, Utc};
use diesel::{
    ExpressionMethods as _, OptionalExtension as _, QueryDsl as _, Queryable, RunQueryDsl as _,
};

use crate::{
    db::{
        Db, DbError,
        connection::AnyConnection,
        outgoing_mails::{self, MailKind, has_known_kind, is_due},
        readable::Readable,
        schema::outgoing_mails as mails,
        users::{UserBy, find, reset_tokens, try_lock_user},
    },
    domain::{Email, NewReset, ResetDigest, User},
};

/// A mail to send, and its recipient.
#[derive(Clone, Debug)]
pub struct OutgoingMail {
    /// The subject.
    pub kind: MailKind,
    /// The time of its cause.
    pub created_at: DateTime<Utc>,
    /// The recipient; `None` when no user has the address.
    pub user: Option<User>,
}

/// A mail that no other caller claims for a while.
#[derive(Debug)]
pub struct Claim {
    /// The id of the mail.
    pub id: i64,
    /// The number of attempts to send it, including this one.
    pub tries: u32,
    /// The mail; an error where its row, or its user's, is damaged.
    pub mail: Result<OutgoingMail, DbError>,
    /// The reset token created for the mail, if it contains one.
    pub reset: Option<NewReset>,
}

/// The result of an attempt to claim a mail.
#[derive(Debug)]
pub enum Claimed {
    /// No mail is due.
    Nothing,
    /// The due mail is not to be sent now: its user is being changed, another node has
    /// claimed it, or it asks for a reset token shortly after one was mailed. There may be
    /// other mails.
    Skipped,
    /// The mail belongs to this caller.
    Mail(Box<Claim>),
}

/// A reset token, created if the claimed mail needs one.
#[derive(Clone, Copy, Debug)]
pub struct OfferedReset<F> {
    /// A user to whom a token was mailed after this time gets no other one.
    pub unless_mailed_since: DateTime<Utc>,
    /// Creates the token. It is called only for a mail that contains one.
    pub make: F,
}

/// The order in which due mails are claimed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Preference {
    /// The mail with the fewest attempts first, so that undeliverable mails do not delay the
    /// others.
    Fresh,
    /// The mail due longest first, so that a stream of fresh mails does not delay it for ever.
    LongestDue,
}

/// The delay of a mail whose user is locked by another unit of work.
const LOCKED_DELAY: Duration = Duration::from_secs(1);

#[derive(Queryable)]
struct MailRow {
    kind: Readable<String>,
    created_at: Readable<NaiveDateTime>,
}

/// The user with the address of a mail.
enum Recipient {
    None,
    User(Box<User>),
    /// The user is locked by another unit of work.
    Locked,
}

impl Db {
    /// Claims a due mail until `until`. If it is about a password reset, its user gets the
    /// reset token in the same unit of work, unless one was mailed to them recently: then
    /// the mail is removed. A mail whose user is being changed is due again in a second.
    ///
    /// # Errors
    ///
    /// When the database fails.
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
            let unclaimed = mails::table.find(id).filter(is_due(now));
            // The user is locked before the mail, as in every unit of work that locks both.
            let user = match lock_recipient(connection, id) {
                Err(unavailable @ DbError::Unavailable(_)) => return Err(unavailable),
                Ok(Recipient::Locked) => {
                    diesel::update(unclaimed)
                        .set(mails::due_at.eq((now + LOCKED_DELAY).naive_utc()))
                        .execute(connection)?;
                    return Ok(Claimed::Skipped);
                }
                Ok(Recipient::None) => Ok(None),
                Ok(Recipient::User(user)) => Ok(Some(*user)),
                Err(fault) => Err(fault),
            };
            let tries: Option<i64> = unclaimed
                .select(mails::tries)
                .first(connection)
                .optional()?;
            let Some(tries) = tries.map(|tries| tries.max(0).saturating_add(1)) else {
                return Ok(Claimed::Skipped);
            };
            let claimed = diesel::update(unclaimed)
                .set((
                    mails::claimed_until.eq(until.naive_utc()),
                    mails::tries.eq(tries),
                ))
                .execute(connection)?;
            if claimed == 0 {
                // Another node has claimed it.
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
                    diesel::delete(mails::table.find(id)).execute(connection)?;
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

    /// Removes a sent mail that contained a reset token, and records when the token was
    /// mailed. A mail requested again since `created_at` stays and is due again.
    ///
    /// # Errors
    ///
    /// When the database fails.
    pub async fn remove_mailed_reset(
        &self,
        id: i64,
        created_at: DateTime<Utc>,
        digest: ResetDigest,
        mailed_at: DateTime<Utc>,
    ) -> Result<(), DbError> {
        self.write(move |connection| {
            // The user is locked before the mail.
            reset_tokens::note_mailed(connection, digest, mailed_at)?;
            outgoing_mails::remove(connection, id, Some(created_at))
        })
        .await
    }
}

/// The id of the next mail to claim. The other columns of its row may be damaged.
fn next_due(
    connection: &mut AnyConnection,
    preference: Preference,
    now: DateTime<Utc>,
) -> Result<Option<i64>, DbError> {
    let due = mails::table
        .filter(is_due(now))
        .filter(has_known_kind())
        .select(mails::id);
    Ok(match preference {
        Preference::Fresh => due.order((mails::tries, mails::due_at)).first(connection),
        Preference::LongestDue => due.order(mails::due_at).first(connection),
    }
    .optional()?)
}

/// Locks the recipient of a mail without waiting.
fn lock_recipient(connection: &mut AnyConnection, id: i64) -> Result<Recipient, DbError> {
    let email: Option<Readable<String>> = mails::table
        .find(id)
        .select(mails::email)
        .first(connection)
        .optional()?;
    let email = email.and_then(Readable::ok);
    let email = email.and_then(|email| Email::parse(&email).ok());
    let email = email.ok_or_else(|| damaged(id, "email"))?;
    let Some(user) = find(connection, &UserBy::Email(email))? else {
        return Ok(Recipient::None);
    };
    Ok(match try_lock_user(connection, user.id)? {
        Some(user) => Recipient::User(Box::new(user)),
        None => Recipient::Locked,
    })
}

fn damaged(id: i64, column: &str) -> DbError {
    DbError::Fault(format!("the row {id} of outgoing_mails has no readable {column}").into())
}

fn read(
    connection: &mut AnyConnection,
    id: i64,
    user: Option<User>,
) -> Result<OutgoingMail, DbError> {
    let row: MailRow = mails::table
        .find(id)
        .select((mails::kind, mails::created_at))
        .first(connection)?;
    let kind = row.kind.ok().and_then(|kind| MailKind::parse(&kind));
    let created_at = row.created_at.ok();
    Ok(OutgoingMail {
        kind: kind.ok_or_else(|| damaged(id, "kind"))?,
        created_at: created_at
            .ok_or_else(|| damaged(id, "created_at"))?
            .and_utc(),
        user,
    })
}
