//! What goes on beside the requests: sending mail, and removing sessions that
//! have expired.

use std::time::Duration;

use tokio::{
    sync::watch,
    task::{JoinHandle, JoinSet},
    time,
};

use super::request_log::with_causes;
use crate::auth::Auth;

/// How many mails are sent at once.
const MAILS_AT_ONCE: usize = 4;

/// How often to look for mail that nobody woke us for: tries that are due
/// again, and what another node has left.
const LOOK_FOR_MAIL: Duration = Duration::from_secs(1);

/// How long to leave a database alone that is away.
const AWAY: Duration = Duration::from_secs(10);

/// The wait between two batches of expired sessions, so that others get their
/// turn.
const BREATHER: Duration = Duration::from_millis(20);

/// The work beside the requests, until it is stopped.
pub(super) struct Background {
    stop: watch::Sender<()>,
    tasks: [JoinHandle<()>; 2],
}

impl Background {
    pub(super) fn start(auth: &Auth, sweep_every: Duration) -> Self {
        let stop = watch::Sender::new(());
        Self {
            tasks: [
                tokio::spawn(send_mail(auth.clone(), stop.subscribe())),
                tokio::spawn(sweep(auth.clone(), sweep_every, stop.subscribe())),
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
        let mut wait = LOOK_FOR_MAIL;
        while deliveries.len() < MAILS_AT_ONCE {
            match auth.claim_mail().await {
                Ok(Some(mail)) => {
                    let auth = auth.clone();
                    deliveries.spawn(async move { auth.deliver_mail(mail).await });
                }
                Ok(None) => break,
                Err(error) => {
                    tracing::warn!(cause = with_causes(&error), "mail has to wait");
                    wait = AWAY;
                    break;
                }
            }
        }
        tokio::select! {
            () = auth.mail_added() => {}
            () = time::sleep(wait) => {}
            Some(_) = deliveries.join_next() => {}
            _ = stop.changed() => break,
        }
    }
    while deliveries.join_next().await.is_some() {}
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
