//! What goes on beside the requests: sending mail, removing sessions that have
//! expired, and keeping the decoys like what is stored.

use std::time::Duration;

use tokio::{
    sync::watch,
    task::{JoinHandle, JoinSet},
    time,
};

use crate::{
    auth::{Auth, AuthError},
    causes::with_causes,
};

/// How many mails are sent at once.
const MAILS_AT_ONCE: usize = 8;

/// How often to look for mail that nobody woke us for: requests for a reset,
/// tries that are due again, and what another node has left.
const LOOK_FOR_MAIL: Duration = Duration::from_millis(250);

/// How often to look what kinds of hashes are stored.
const SAMPLE_EVERY: Duration = Duration::from_secs(600);

/// How long to leave a database alone that is away.
const AWAY: Duration = Duration::from_secs(10);

/// The wait between two batches of what is cleared away, so that others get
/// their turn.
const BREATHER: Duration = Duration::from_millis(20);

/// The work beside the requests, until it is stopped.
pub(super) struct Background {
    stop: watch::Sender<()>,
    tasks: [JoinHandle<()>; 3],
}

impl Background {
    pub(super) fn start(auth: &Auth, sweep_every: Duration) -> Self {
        let stop = watch::Sender::new(());
        Self {
            tasks: [
                tokio::spawn(send_mail(auth.clone(), stop.subscribe())),
                tokio::spawn(sweep(auth.clone(), sweep_every, stop.subscribe())),
                tokio::spawn(sample_decoys(auth.clone(), stop.subscribe())),
            ],
            stop,
        }
    }

    /// Begins nothing new and lets what is under way finish. Mail that is cut
    /// off when this is dropped is sent after the next start.
    pub(super) async fn stop(self) {
        let _ = self.stop.send(());
        for task in self.tasks {
            let _ = task.await;
        }
    }
}

async fn send_mail(auth: Auth, mut stop: watch::Receiver<()>) {
    let mut deliveries = JoinSet::new();
    loop {
        let wait = match begin_deliveries(&auth, &mut deliveries).await {
            Ok(true) => BREATHER,
            Ok(false) => LOOK_FOR_MAIL,
            Err(error) => {
                tracing::warn!(cause = with_causes(&error), "mail has to wait");
                AWAY
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
    while deliveries.len() < MAILS_AT_ONCE {
        let Some(mail) = auth.claim_mail().await? else {
            break;
        };
        let auth = auth.clone();
        deliveries.spawn(async move { auth.deliver_mail(mail).await });
    }
    Ok(has_more)
}

async fn sample_decoys(auth: Auth, mut stop: watch::Receiver<()>) {
    loop {
        tokio::select! {
            () = time::sleep(SAMPLE_EVERY) => {}
            _ = stop.changed() => return,
        }
        if let Err(error) = auth.sample_decoys().await {
            tracing::warn!(
                cause = with_causes(&error),
                "the decoys of refused logins stay as they are"
            );
        }
    }
}

async fn sweep(auth: Auth, every: Duration, mut stop: watch::Receiver<()>) {
    loop {
        let wait = match auth.sweep_sessions().await {
            Ok(true) => BREATHER,
            Ok(false) => every,
            Err(error) => {
                tracing::warn!(
                    cause = with_causes(&error),
                    "expired sessions wait to be removed"
                );
                every.max(AWAY)
            }
        };
        tokio::select! {
            () = time::sleep(wait) => {}
            _ = stop.changed() => return,
        }
    }
}
