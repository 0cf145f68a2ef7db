//! Sends the mails that wait in the outbox.

use std::time::Duration;

use tokio::{sync::watch, task::JoinSet, time};

use super::{DATABASE_AWAY, PAUSE};
use crate::{
    auth::{Auth, AuthError, NextMail},
    error_chain::with_causes,
};

/// How many mails are sent at once.
const MAILS_AT_ONCE: usize = 8;

/// How many mails are looked at in one go that need no sending, so that it is soon
/// somebody else's turn to write.
const SKIPPED_AT_ONCE: usize = 32;

/// How often to look for mail that nobody woke us for: requests for a reset,
/// tries that are due again, and what another node has left.
const LOOK_FOR_MAIL: Duration = Duration::from_millis(250);

pub(super) async fn run(auth: Auth, mut stop: watch::Receiver<()>) {
    let mut deliveries = JoinSet::new();
    loop {
        let wait = match begin_deliveries(&auth, &mut deliveries).await {
            Ok(true) => PAUSE,
            Ok(false) => LOOK_FOR_MAIL,
            Err(error) => {
                tracing::warn!(cause = with_causes(&error), "mail has to wait");
                DATABASE_AWAY
            }
        };
        tokio::select! {
            () = auth.mail_added() => {}
            () = time::sleep(wait) => {}
            Some(_) = deliveries.join_next() => {}
            _ = stop.changed() => break,
        }
    }
    while deliveries.join_next().await.is_some() {}
}

/// Takes on what there is room for; `true` when there is more to clear away.
async fn begin_deliveries(auth: &Auth, deliveries: &mut JoinSet<()>) -> Result<bool, AuthError> {
    if !auth.has_mail().await? {
        return Ok(false);
    }
    let has_more = auth.drop_mail_for_nobody().await?;
    let mut skipped = 0;
    while deliveries.len() < MAILS_AT_ONCE {
        match auth.claim_mail().await? {
            NextMail::None => return Ok(has_more),
            NextMail::Skipped => skipped += 1,
            NextMail::Claimed(mail) => {
                let auth = auth.clone();
                deliveries.spawn(async move { auth.deliver_mail(*mail).await });
            }
        }
        if skipped >= SKIPPED_AT_ONCE {
            return Ok(true);
        }
    }
    Ok(has_more)
}
