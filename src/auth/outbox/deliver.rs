//! Sending what waits to be sent, behind the replies.
//!
//! A mail stays in its table until a mailer has taken it, so a crash loses
//! none; one that crashes in between sends a mail twice.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use chrono::{DateTime, Utc};
use tokio::sync::Notify;

use super::mails;
use crate::auth::{Auth, AuthError};
use crate::{
    backoff::Backoff,
    db::{Claim, Claimed, DbError, MailKind, OutgoingMail, Preference},
    domain::CLOCK_SKEW,
    error_chain::with_causes,
    mail::{self, MailError, Mailer},
};

/// How long a mail belongs to whoever claimed it. After a crash it is due again
/// then.
pub(in crate::auth) const CLAIM: Duration = Duration::from_secs(60);

const _: () = assert!(
    CLAIM.as_secs() > mail::TIME_LIMIT.as_secs() + 10,
    "nobody else takes a mail that is being sent"
);

/// The waits between tries double from the first to the last of these.
const FIRST_RETRY: Duration = Duration::from_secs(1);
const LAST_RETRY: Duration = Duration::from_secs(600);

/// How long a mail is left alone whose row, or whose user's, cannot be read: somebody
/// may repair it.
pub(in crate::auth) const SET_ASIDE: Duration = Duration::from_secs(86_400);

/// How often such a mail is looked at before it is given up.
const MOST_LOOKS: u32 = 3;

/// How many requests for nobody's address are dropped in one unit of work, so
/// that nobody who wants to write waits long.
const DROPPED_AT_ONCE: u32 = 500;

/// However long it has been: a clock that jumps ahead loses no mail.
const LEAST_TRIES: u32 = 12;

/// How many tries there are in the time after which a mail is given up, where that time
/// cannot be told since the mail is dated after now.
fn most_tries(kind: MailKind) -> u32 {
    let last = u32::try_from(LAST_RETRY.as_secs()).unwrap_or(u32::MAX);
    let whole = u32::try_from(mails::give_up_after(kind).num_seconds()).unwrap_or(u32::MAX);
    LEAST_TRIES + whole / last
}

/// Who sends mail, and what wakes whoever waits for mail to send.
#[derive(Clone)]
pub(in crate::auth) struct MailDelivery {
    mailer: Mailer,
    woken: Arc<Notify>,
    claims: Arc<AtomicUsize>,
}

impl MailDelivery {
    pub(in crate::auth) fn new(mailer: Mailer) -> Self {
        Self {
            mailer,
            woken: Arc::default(),
            claims: Arc::default(),
        }
    }

    /// To be called when a mail has become due.
    pub(in crate::auth) fn wake(&self) {
        self.woken.notify_one();
    }
}

/// A mail that this process has taken on, to be
/// [`deliver`](Auth::deliver_mail)ed.
#[derive(Debug)]
pub struct ClaimedMail {
    claim: Claim,
    claimed_at: DateTime<Utc>,
}

/// What came of the search for a mail to send.
#[derive(Debug)]
pub enum NextMail {
    /// None is due.
    None,
    /// The one that was due needs no sending now; there may be others.
    Skipped,
    /// This one.
    Claimed(Box<ClaimedMail>),
}

impl Auth {
    /// Resolves when a mail has become due in this process.
    pub async fn mail_added(&self) {
        self.mail_delivery.woken.notified().await;
    }

    /// Whether a mail is due.
    ///
    /// # Errors
    ///
    /// `Unavailable`, `Internal`.
    pub async fn has_mail(&self) -> Result<bool, AuthError> {
        Ok(self.db.has_due_mail(self.clock.now()).await?)
    }

    /// Removes some of the mail that is for nobody; `true` while there may be
    /// more.
    ///
    /// # Errors
    ///
    /// `Unavailable`, `Internal`.
    pub async fn drop_mail_for_nobody(&self) -> Result<bool, AuthError> {
        let now = self.clock.now();
        let dropped = self
            .db
            .remove_mail_without_user(now, DROPPED_AT_ONCE)
            .await?;
        Ok(dropped > 0)
    }

    /// Takes on a mail that is due, by turns one that was tried least often and
    /// the one that has been due longest.
    ///
    /// # Errors
    ///
    /// `Unavailable`, `Internal`.
    pub async fn claim_mail(&self) -> Result<NextMail, AuthError> {
        let preference = match self.mail_delivery.claims.fetch_add(1, Ordering::Relaxed) % 2 {
            0 => Preference::Fresh,
            _ => Preference::LongestDue,
        };
        let now = self.clock.now();
        // Made only when its mail is sent, so that no secret waits in a table.
        let offered = self.offer_reset(now);
        let claimed = self
            .db
            .claim_outgoing_mail(preference, now, now + CLAIM, offered)
            .await?;
        Ok(match claimed {
            Claimed::Nothing => NextMail::None,
            Claimed::Skipped => NextMail::Skipped,
            Claimed::Mail(claim) => NextMail::Claimed(Box::new(ClaimedMail {
                claim: *claim,
                claimed_at: now,
            })),
        })
    }

    /// Sends a mail, or makes it due again later. Problems are logged: nobody
    /// waits for the answer.
    pub async fn deliver_mail(&self, claimed: ClaimedMail) {
        let noted = match &claimed.claim.mail {
            Err(unreadable) => self.set_aside(&claimed.claim, unreadable).await,
            Ok(mail) => match self.send_mail(mail, &claimed).await {
                Ok(()) => self.note_sent(mail, &claimed).await,
                Err(error) if error.is_permanent() => {
                    self.drop_refused_mail(mail, &claimed.claim, &error).await
                }
                Err(error) => {
                    let cause = error.to_string();
                    self.retry_mail(mail, &claimed.claim, &cause).await
                }
            },
        };
        if let Err(error) = noted {
            tracing::warn!(
                mail = claimed.claim.id,
                cause = with_causes(&error),
                "what became of a mail could not be noted; it is tried again in a minute"
            );
        }
    }

    /// Removes the files of mails whose secret has expired, where mail goes to a folder.
    /// Problems are logged.
    pub async fn remove_expired_mail(&self) {
        match self.mail_delivery.mailer.remove_expired().await {
            Ok(0) => {}
            Ok(removed) => tracing::info!(removed, "mails with expired secrets were removed"),
            Err(error) => tracing::warn!("{error}"),
        }
    }

    /// Hands a mail to the mailer, if its address has an account.
    async fn send_mail(&self, mail: &OutgoingMail, claimed: &ClaimedMail) -> Result<(), MailError> {
        let public_url = &self.settings.public_url;
        if let Some(message) = mails::message(mail, &claimed.claim, public_url) {
            self.mail_delivery.mailer.send(&message).await?;
            let (id, kind) = (claimed.claim.id, mail.kind.name());
            tracing::info!(mail = id, kind, "a mail was sent");
        }
        Ok(())
    }

    /// Only once its mail was sent does a reset token keep others from being mailed.
    async fn note_sent(&self, mail: &OutgoingMail, claimed: &ClaimedMail) -> Result<(), DbError> {
        let (id, created_at) = (claimed.claim.id, mail.created_at);
        if let Some(reset) = &claimed.claim.reset {
            let (digest, mailed_at) = (reset.pending.digest, claimed.claimed_at);
            return self
                .db
                .remove_mailed_reset(id, created_at, digest, mailed_at)
                .await;
        }
        self.db.remove_outgoing_mail(id, Some(created_at)).await
    }

    /// Ends a mail that its server will never take.
    async fn drop_refused_mail(
        &self,
        mail: &OutgoingMail,
        claim: &Claim,
        refusal: &MailError,
    ) -> Result<(), DbError> {
        let Claim { id, tries, .. } = claim;
        let (kind, cause) = (mail.kind.name(), refusal.to_string());
        tracing::warn!(
            mail = id,
            kind,
            tries,
            cause,
            "a mail was refused for good and is not tried again"
        );
        let created_at = Some(mail.created_at);
        self.db.remove_outgoing_mail(*id, created_at).await
    }

    async fn retry_mail(
        &self,
        mail: &OutgoingMail,
        claim: &Claim,
        cause: &str,
    ) -> Result<(), DbError> {
        let Claim { id, tries, .. } = claim;
        let (now, wait) = (self.clock.now(), wait_after(*tries));
        let kind = mail.kind.name();
        let has_time = if mail.created_at > now + CLOCK_SKEW {
            *tries < most_tries(mail.kind)
        } else {
            let last = mail
                .created_at
                .checked_add_signed(mails::give_up_after(mail.kind));
            last.is_some_and(|last| now + wait < last)
        };
        if *tries >= LEAST_TRIES && !has_time {
            tracing::error!(mail = id, kind, tries, cause, "a mail is given up");
            return self
                .db
                .remove_outgoing_mail(*id, Some(mail.created_at))
                .await;
        }
        let again = humantime::format_duration(wait).to_string();
        tracing::warn!(
            mail = id,
            kind,
            tries,
            cause,
            again,
            "a mail could not be sent yet"
        );
        self.db.postpone_outgoing_mail(*id, now + wait).await
    }

    /// Of a mail that cannot be read: it is said once a day, and given up after some.
    async fn set_aside(&self, claim: &Claim, unreadable: &DbError) -> Result<(), DbError> {
        let (table, id, cause) = ("outgoing_mails", claim.id, with_causes(unreadable));
        if claim.tries >= MOST_LOOKS {
            tracing::error!(table, id, cause, "a mail that cannot be read is given up");
            return self.db.remove_outgoing_mail(id, None).await;
        }
        tracing::error!(
            table,
            id,
            cause,
            "a mail that cannot be read is set aside for a day"
        );
        let due_at = self.clock.now() + SET_ASIDE;
        self.db.postpone_outgoing_mail(id, due_at).await
    }
}

fn wait_after(tries: u32) -> Duration {
    Backoff::new(FIRST_RETRY, LAST_RETRY).wait_after(tries)
}
