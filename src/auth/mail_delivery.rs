//! Sending what waits to be sent, behind the replies.
//!
//! A mail stays in its table until a mailer has taken it, so a crash loses
//! none; one that crashes in between sends a mail twice.

use std::{sync::Arc, time::Duration};

use chrono::{DateTime, Utc};
use tokio::sync::Notify;

use super::{Auth, AuthError, letters};
use crate::{
    db::{MailKind, OutgoingMail},
    domain::{PendingReset, ResetToken, User},
    mail::{MailError, Mailer, Message},
};

/// How long a mail belongs to whoever claimed it: longer than a mailer may
/// take. After a crash it is due again then.
const CLAIM: Duration = Duration::from_secs(60);

/// The waits between tries double from the first to the last of these.
const FIRST_RETRY: Duration = Duration::from_secs(1);
const LAST_RETRY: Duration = Duration::from_secs(600);

/// How many requests for nobody's address are dropped in one unit of work, so
/// that nobody who wants to write waits long.
const DROPPED_AT_ONCE: u32 = 500;

/// When to give up: what mail servers themselves do.
const GIVE_UP: Duration = Duration::from_secs(3 * 24 * 3_600);

/// Who sends mail, and what wakes whoever waits for mail to send.
#[derive(Clone)]
pub(super) struct Outbox {
    mailer: Mailer,
    woken: Arc<Notify>,
}

impl Outbox {
    pub(super) fn new(mailer: Mailer) -> Self {
        Self {
            mailer,
            woken: Arc::default(),
        }
    }

    /// To be called when a mail has become due.
    pub(super) fn wake(&self) {
        self.woken.notify_one();
    }
}

/// A mail that this process has taken on, to be
/// [`deliver`](Auth::deliver_mail)ed.
#[derive(Debug)]
pub struct ClaimedMail {
    mail: OutgoingMail,
    user: Option<User>,
    token: ResetToken,
    reset: PendingReset,
}

impl Auth {
    /// Resolves when a mail may have become due in this process.
    pub async fn mail_added(&self) {
        self.outbox.woken.notified().await;
    }

    /// Takes on the mail that has been due longest; `None` when none is due.
    ///
    /// # Errors
    ///
    /// `Unavailable`, `Internal`.
    pub async fn claim_mail(&self) -> Result<Option<ClaimedMail>, AuthError> {
        let now = self.clock.now();
        if !self.db.has_due_mail(now).await? {
            return Ok(None);
        }
        self.db.remove_mail_for_nobody(DROPPED_AT_ONCE).await?;
        // Made only now, so that no secret waits in a table.
        let (token, reset) = self.new_reset()?;
        let claimed = self.db.claim_outgoing_mail(now, now + CLAIM, reset).await?;
        Ok(claimed.map(|(mail, user)| ClaimedMail {
            mail,
            user,
            token,
            reset,
        }))
    }

    /// Sends a mail, or makes it due again later. Problems are logged: nobody
    /// waits for the answer.
    pub async fn deliver_mail(&self, claimed: ClaimedMail) {
        let mail = &claimed.mail;
        let sent = match self.letter(&claimed) {
            Some(message) => self.outbox.mailer.send(&message).await,
            None => Ok(()),
        };
        let noted = match &sent {
            Ok(()) => self.db.remove_outgoing_mail(mail.id).await,
            Err(error) => match self.next_try(mail) {
                Some(wait) => {
                    log_failure(mail, error, Some(wait));
                    let due_at = self.clock.now() + wait;
                    self.db.postpone_outgoing_mail(mail.id, due_at).await
                }
                None => {
                    log_failure(mail, error, None);
                    self.db.remove_outgoing_mail(mail.id).await
                }
            },
        };
        if let Err(error) = noted {
            tracing::warn!(
                mail = mail.id,
                cause = %AuthError::from(error),
                "what became of a mail could not be noted; it is tried again in a minute"
            );
        } else if sent.is_ok() && claimed.user.is_some() {
            tracing::info!(mail = mail.id, kind = mail.kind.name(), "a mail was sent");
        }
    }

    /// What to write; `None` where there is nobody to write to.
    fn letter(&self, claimed: &ClaimedMail) -> Option<Message> {
        let public_url = &self.settings.public_url;
        let to = &claimed.user.as_ref()?.email;
        Some(match claimed.mail.kind {
            MailKind::PasswordReset => {
                letters::password_reset(to, public_url, &claimed.token, claimed.reset.expires_at)
            }
            MailKind::PasswordChanged => {
                letters::password_changed(to, public_url, claimed.mail.created_at)
            }
        })
    }

    /// How long to wait for the next try; `None` when that is enough of them.
    fn next_try(&self, mail: &OutgoingMail) -> Option<Duration> {
        let wait = FIRST_RETRY
            .saturating_mul(1 << mail.tries.saturating_sub(1).min(16))
            .min(LAST_RETRY);
        let last: DateTime<Utc> = mail.created_at + GIVE_UP;
        (self.clock.now() + wait < last).then_some(wait)
    }
}

fn log_failure(mail: &OutgoingMail, error: &MailError, wait: Option<Duration>) {
    let (id, kind, tries) = (mail.id, mail.kind.name(), mail.tries);
    match wait {
        Some(wait) => tracing::warn!(
            mail = id,
            kind,
            tries,
            cause = %error,
            "a mail could not be sent; next try in {} s",
            wait.as_secs()
        ),
        None => tracing::error!(
            mail = id,
            kind,
            tries,
            cause = %error,
            "a mail could not be sent for three days and is given up"
        ),
    }
}
