//! Sends the mails that wait in the outbox.

use std::time::Duration;

use tokio::{sync::watch, task::JoinSet, time};

use super::{DATABASE_RETRY, PAUSE};
use crate::{
    auth::{Auth, AuthError, NextMail},
    error_chain::with_causes,
};

/// The largest number of concurrent deliveries.
const MAILS_AT_ONCE: usize = 8;

/// The number of skipped mails in one run, so that other writers do not wait long.
const SKIPPED_AT_ONCE: usize = 32;

/// The interval at which due mail is searched for without a signal: requests for a reset,
/// retries, and mail left behind by another node.
const LOOK_FOR_MAIL: Duration = Duration::from_millis(250);

pub(super) async fn run(auth: Auth, mut stop: watch::Receiver<()>) {
    let mut deliveries = JoinSet::new();
    loop {
        let wait = match begin_deliveries(&auth, &mut deliveries).await {
            Ok(true) => PAUSE,
            Ok(false) => LOOK_FOR_MAIL,
            Err(error) => {
                tracing::warn!(
                    cause = with_causes(&error),
                    "due mail could not be claimed yet"
                );
                DATABASE_RETRY
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

/// Claims as many mails as can be delivered now; `true` if there is more to clean up.
async fn begin_deliveries(auth: &Auth, deliveries: &mut JoinSet<()>) -> Result<bool, AuthError> {
    if !auth.has_mail().await? {
        return Ok(false);
    }
    let has_more = auth.drop_mail_to_unknown_addresses().await?;
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
