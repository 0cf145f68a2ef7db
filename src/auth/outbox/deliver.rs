//! Delivery of the mails in the outbox, in the background.
//!
//! A mail stays in its table until a mailer has accepted it, so a crash loses no mail; a
//! crash in between sends it twice.

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

/// How long a claimed mail belongs to its claimant. After a crash it is due again then.
pub(in crate::auth) const CLAIM: Duration = Duration::from_secs(60);

const _: () = assert!(
    CLAIM.as_secs() > mail::TIME_LIMIT.as_secs() + 10,
    "a claim outlasts the sending of its mail"
);

/// The delays between tries double from the first to the last of these.
const FIRST_RETRY: Duration = Duration::from_secs(1);
const LAST_RETRY: Duration = Duration::from_secs(600);

/// How long a mail is postponed if its row or its user's cannot be read, since an operator
/// may repair the row.
pub(in crate::auth) const SET_ASIDE: Duration = Duration::from_secs(86_400);

/// How often such a mail is tried before it is given up.
const MAX_UNREADABLE_TRIES: u32 = 3;

/// The number of requests for unknown addresses deleted in one unit of work, so that other
/// writers do not wait long.
const DROPPED_AT_ONCE: u32 = 500;

/// The smallest number of tries, so that a clock jumping ahead loses no mail.
const MIN_TRIES: u32 = 12;

/// The number of tries after which a mail dated in the future is given up: as many as fit
/// into the usual time.
fn max_tries(kind: MailKind) -> u32 {
    let last = u32::try_from(LAST_RETRY.as_secs()).unwrap_or(u32::MAX);
    let whole = u32::try_from(mails::give_up_after(kind).num_seconds()).unwrap_or(u32::MAX);
    MIN_TRIES + whole / last
}

/// The mailer, and the signal that wakes the delivery.
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

/// A mail claimed by this process for [delivery](Auth::deliver_mail).
#[derive(Debug)]
pub struct ClaimedMail {
    claim: Claim,
    claimed_at: DateTime<Utc>,
}

/// The result of a search for a due mail.
#[derive(Debug)]
pub enum NextMail {
    /// No mail is due.
    None,
    /// The due mail does not have to be sent now; there may be others.
    Skipped,
    /// A mail to deliver.
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

    /// Deletes some requests for unknown addresses; `true` if there may be more.
    ///
    /// # Errors
    ///
    /// `Unavailable`, `Internal`.
    pub async fn drop_mail_to_unknown_addresses(&self) -> Result<bool, AuthError> {
        let now = self.clock.now();
        let dropped = self
            .db
            .remove_mail_without_user(now, DROPPED_AT_ONCE)
            .await?;
        Ok(dropped > 0)
    }

    /// Claims a due mail: alternately the one with the fewest tries and the one due
    /// longest.
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
        // Made only for a mail about to be sent, so that no secret waits in a table.
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

    /// Sends a mail, or postpones it. Errors are logged, since no caller waits for them.
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
                "the result of sending a mail could not be stored; the mail is tried again in a minute"
            );
        }
    }

    /// Deletes the files of mails with an expired secret, if mail goes to a folder. Errors
    /// are logged.
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

    /// Records that a mail was sent. Only then does its reset token suppress further mails.
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

    /// Deletes a mail that the server has refused for good.
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
            *tries < max_tries(mail.kind)
        } else {
            let last = mail
                .created_at
                .checked_add_signed(mails::give_up_after(mail.kind));
            last.is_some_and(|last| now + wait < last)
        };
        if *tries >= MIN_TRIES && !has_time {
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

    /// Postpones an unreadable mail by a day, with a line in the log, and gives it up after
    /// several tries.
    async fn set_aside(&self, claim: &Claim, unreadable: &DbError) -> Result<(), DbError> {
        let (table, id, cause) = ("outgoing_mails", claim.id, with_causes(unreadable));
        if claim.tries >= MAX_UNREADABLE_TRIES {
            tracing::error!(table, id, cause, "an unreadable mail is given up");
            return self.db.remove_outgoing_mail(id, None).await;
        }
        tracing::error!(table, id, cause, "an unreadable mail is postponed by a day");
        let due_at = self.clock.now() + SET_ASIDE;
        self.db.postpone_outgoing_mail(id, due_at).await
    }
}

fn wait_after(tries: u32) -> Duration {
    Backoff::new(FIRST_RETRY, LAST_RETRY).wait_after(tries)
}
