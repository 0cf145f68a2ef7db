//! What goes on beside the requests: sending mail, removing what has expired,
//! keeping memory and the database together, and the decoys like what is stored.

use std::time::Duration;

use tokio::{
    sync::watch,
    task::{JoinHandle, JoinSet},
    time,
};

use crate::{
    auth::{Auth, AuthError, NextMail, Sweeper},
    causes::with_causes,
};

/// How many mails are sent at once.
const MAILS_AT_ONCE: usize = 8;

/// How many mails are looked at in one go that need no sending, so that it is soon
/// somebody else's turn to write.
const SKIPPED_AT_ONCE: usize = 32;

/// How often to look for mail that nobody woke us for: requests for a reset,
/// tries that are due again, and what another node has left.
const LOOK_FOR_MAIL: Duration = Duration::from_millis(250);

/// How often to look for new users whose stored hashes may become decoys.
const SAMPLE_EVERY: Duration = Duration::from_secs(60);

/// How often to write which sessions were used.
const WRITE_USES_EVERY: Duration = Duration::from_secs(1);

/// How often to make room in memory for users who have changed, which looks at all that
/// is there, and to close idle connections.
const TIDY_EVERY: Duration = Duration::from_secs(5);

/// How long to leave a database alone that is away.
const AWAY: Duration = Duration::from_secs(10);

/// The wait between two batches of what is cleared away, so that others get
/// their turn.
const BREATHER: Duration = Duration::from_millis(20);

/// The work beside the requests, until it is stopped.
pub(super) struct Background {
    stop: watch::Sender<()>,
    tasks: [JoinHandle<()>; 7],
}

impl Background {
    pub(super) fn start(auth: &Auth, sweep_every: Duration) -> Self {
        let stop = watch::Sender::new(());
        Self {
            tasks: [
                tokio::spawn(send_mail(auth.clone(), stop.subscribe())),
                tokio::spawn(sweep(auth.clone(), sweep_every, stop.subscribe())),
                tokio::spawn(tidy_mail(auth.clone(), sweep_every, stop.subscribe())),
                tokio::spawn(sample_decoys(auth.clone(), stop.subscribe())),
                tokio::spawn(load_sessions(auth.clone(), stop.subscribe())),
                tokio::spawn(write_uses(auth.clone(), stop.subscribe())),
                tokio::spawn(tidy(auth.clone(), stop.subscribe())),
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

async fn sample_decoys(auth: Auth, mut stop: watch::Receiver<()>) {
    loop {
        let wait = match auth.sample_decoys().await {
            Ok(true) => BREATHER,
            Ok(false) => SAMPLE_EVERY,
            Err(error) => {
                tracing::warn!(
                    cause = with_causes(&error),
                    "the decoys of unknown e-mails do not follow the users yet"
                );
                SAMPLE_EVERY
            }
        };
        tokio::select! {
            () = time::sleep(wait) => {}
            _ = stop.changed() => return,
        }
    }
}

async fn sweep(auth: Auth, every: Duration, mut stop: watch::Receiver<()>) {
    let mut sweeper = Sweeper::default();
    loop {
        let wait = match auth.sweep(&mut sweeper).await {
            Ok(true) => BREATHER,
            Ok(false) => every,
            Err(error) => {
                tracing::warn!(
                    cause = with_causes(&error),
                    "some of what has expired waits to be removed"
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

/// By this machine's clock, trusted or not: a mail that is removed too early is asked for
/// again, and a machine that runs an hour a day has a clock that is never trusted.
async fn tidy_mail(auth: Auth, every: Duration, mut stop: watch::Receiver<()>) {
    loop {
        auth.remove_expired_mail().await;
        tokio::select! {
            () = time::sleep(every) => {}
            _ = stop.changed() => return,
        }
    }
}

async fn load_sessions(auth: Auth, mut stop: watch::Receiver<()>) {
    let mut loads = auth.loads();
    loop {
        let asked = *loads.borrow_and_update();
        let loading = async {
            if let Some(load) = asked {
                while let Err(error) = auth.load_sessions(load).await {
                    tracing::warn!(cause = with_causes(&error), "sessions wait to be loaded");
                    time::sleep(AWAY).await;
                }
            }
            std::future::pending().await
        };
        tokio::select! {
            () = loading => {}
            Ok(()) = loads.changed() => {}
            _ = stop.changed() => return,
        }
    }
}

async fn write_uses(auth: Auth, mut stop: watch::Receiver<()>) {
    loop {
        let stopped = tokio::select! {
            () = time::sleep(WRITE_USES_EVERY) => false,
            _ = stop.changed() => true,
        };
        if let Err(error) = auth.write_uses().await {
            tracing::warn!(
                cause = with_causes(&error),
                "when some sessions were used last is not noted"
            );
        }
        if stopped {
            return;
        }
    }
}

async fn tidy(auth: Auth, mut stop: watch::Receiver<()>) {
    loop {
        tokio::select! {
            () = time::sleep(TIDY_EVERY) => auth.tidy(),
            _ = stop.changed() => return,
        }
    }
}
