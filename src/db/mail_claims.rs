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
    schema::outgoing_mails,
    users::{UserBy, find, hold_if_free, set_reset},
};
use crate::domain::{Email, PendingReset, User};

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
struct NextMail {
    id: i64,
    tries: i64,
    email: String,
}

#[derive(Queryable)]
struct MailRow {
    kind: String,
    created_at: NaiveDateTime,
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
    /// the same unit of work. `None` when none is due, or when its user is being
    /// changed: then it is due again in a second.
    ///
    /// # Errors
    ///
    /// When the database cannot.
    pub async fn claim_outgoing_mail(
        &self,
        preference: Preference,
        now: DateTime<Utc>,
        until: DateTime<Utc>,
        reset: PendingReset,
    ) -> Result<Option<Claim>, DbError> {
        self.write(move |connection| {
            let Some(next) = next_due(connection, preference, now)? else {
                return Ok(None);
            };
            let unclaimed = outgoing_mails::table.find(next.id).filter(is_due(now));
            // The user before the mail, as everybody does who takes both.
            let user = match find_free(connection, &next.email) {
                Err(unavailable @ DbError::Unavailable(_)) => return Err(unavailable),
                Ok(Whose::Busy) => {
                    diesel::update(unclaimed)
                        .set(outgoing_mails::due_at.eq((now + BUSY).naive_utc()))
                        .execute(connection)?;
                    return Ok(None);
                }
                Ok(Whose::Nobody) => Ok(None),
                Ok(Whose::Somebody(user)) => Ok(Some(*user)),
                Err(fault) => Err(fault),
            };
            let tries = next.tries.saturating_add(1);
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
            let mail = match user.and_then(|user| read(connection, next.id, user, reset)) {
                Err(unavailable @ DbError::Unavailable(_)) => return Err(unavailable),
                mail => mail,
            };
            Ok(Some(Claim {
                id: next.id,
                tries: u32::try_from(tries).unwrap_or(u32::MAX),
                mail,
            }))
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
        self.write(move |connection| {
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

fn next_due(
    connection: &mut AnyConnection,
    preference: Preference,
    now: DateTime<Utc>,
) -> Result<Option<NextMail>, DbError> {
    let due = outgoing_mails::table.filter(is_due(now)).select((
        outgoing_mails::id,
        outgoing_mails::tries,
        outgoing_mails::email,
    ));
    Ok(match preference {
        Preference::Fresh => due
            .order((outgoing_mails::tries, outgoing_mails::due_at))
            .first(connection),
        Preference::LongestDue => due.order(outgoing_mails::due_at).first(connection),
    }
    .optional()?)
}

/// The user of an address, held; nobody is waited for.
fn find_free(connection: &mut AnyConnection, email: &str) -> Result<Whose, DbError> {
    let email =
        Email::parse(email).map_err(|_| DbError::Fault("an outgoing mail has no e-mail".into()))?;
    let Some(user) = find(connection, &UserBy::Email(email))? else {
        return Ok(Whose::Nobody);
    };
    Ok(match hold_if_free(connection, user.id)? {
        Some(user) => Whose::Somebody(Box::new(user)),
        None => Whose::Busy,
    })
}

fn read(
    connection: &mut AnyConnection,
    id: i64,
    user: Option<User>,
    reset: PendingReset,
) -> Result<OutgoingMail, DbError> {
    let row: MailRow = outgoing_mails::table
        .find(id)
        .select((outgoing_mails::kind, outgoing_mails::created_at))
        .first(connection)?;
    let kind = MailKind::parse(&row.kind)
        .ok_or_else(|| DbError::Fault(format!("the outgoing mail {id} has no kind").into()))?;
    if let (MailKind::PasswordReset, Some(user)) = (kind, &user) {
        set_reset(connection, user.id, reset)?;
    }
    Ok(OutgoingMail {
        kind,
        created_at: row.created_at.and_utc(),
        user,
    })
}
