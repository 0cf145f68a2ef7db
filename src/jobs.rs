//! The background jobs, one file each, and their runner.

mod load_sessions;
mod release_memory;
mod remove_expired;
mod remove_expired_mail;
mod sample_decoys;
mod send_mail;
mod write_last_seen;

use std::time::Duration;

use tokio::{sync::watch, task::JoinHandle};

use crate::auth::Auth;

/// The delay after a failed query, to relieve an unavailable database.
const DATABASE_RETRY: Duration = Duration::from_secs(10);

/// The delay between two batches of deletions, for other writers.
const PAUSE: Duration = Duration::from_millis(20);

/// The running jobs.
pub(crate) struct Jobs {
    stop: watch::Sender<()>,
    tasks: [JoinHandle<()>; 7],
}

impl Jobs {
    pub(crate) fn start(auth: &Auth, sweep_every: Duration) -> Self {
        let stop = watch::Sender::new(());
        Self {
            tasks: [
                tokio::spawn(send_mail::run(auth.clone(), stop.subscribe())),
                tokio::spawn(remove_expired::run(
                    auth.clone(),
                    sweep_every,
                    stop.subscribe(),
                )),
                tokio::spawn(remove_expired_mail::run(
                    auth.clone(),
                    sweep_every,
                    stop.subscribe(),
                )),
                tokio::spawn(sample_decoys::run(auth.clone(), stop.subscribe())),
                tokio::spawn(load_sessions::run(auth.clone(), stop.subscribe())),
                tokio::spawn(write_last_seen::run(auth.clone(), stop.subscribe())),
                tokio::spawn(release_memory::run(auth.clone(), stop.subscribe())),
            ],
            stop,
        }
    }

    /// Asks each job to stop and waits for the work in progress. Dropping this future cuts
    /// off mail being sent; it is sent after the next start.
    pub(crate) async fn stop(self) {
        let _ = self.stop.send(());
        for task in self.tasks {
            let _ = task.await;
        }
    }
}
