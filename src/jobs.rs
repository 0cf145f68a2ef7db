//! The background jobs, one file each, and their runner.

mod close_idle_connections;
mod drop_stale_details;
mod load_sessions;
mod remove_expired;
mod remove_expired_mail;
mod sample_decoys;
mod send_mail;
mod write_last_seen;

use std::time::Duration;

use tokio::{sync::watch, task::JoinHandle, time};

use crate::auth::Auth;

/// The delay after a failed query, to relieve an unavailable database, and after a panic.
const DATABASE_RETRY: Duration = Duration::from_secs(10);

/// The delay between two batches of writes, for other writers.
const PAUSE: Duration = Duration::from_millis(20);

/// The running jobs.
pub(crate) struct Jobs {
    stop: watch::Sender<()>,
    tasks: Vec<JoinHandle<()>>,
}

impl Jobs {
    pub(crate) fn start(auth: &Auth, sweep_every: Duration) -> Self {
        let mut jobs = Self {
            stop: watch::Sender::new(()),
            tasks: Vec::new(),
        };
        jobs.add("send_mail", auth, send_mail::run);
        jobs.add("remove_expired", auth, move |auth, stop| {
            remove_expired::run(auth, sweep_every, stop)
        });
        jobs.add("remove_expired_mail", auth, move |auth, stop| {
            remove_expired_mail::run(auth, sweep_every, stop)
        });
        jobs.add("sample_decoys", auth, sample_decoys::run);
        jobs.add("load_sessions", auth, load_sessions::run);
        jobs.add("write_last_seen", auth, write_last_seen::run);
        jobs.add("drop_stale_details", auth, drop_stale_details::run);
        jobs.add("close_idle_connections", auth, close_idle_connections::run);
        jobs
    }

    fn add<F>(
        &mut self,
        name: &'static str,
        auth: &Auth,
        job: impl Fn(Auth, watch::Receiver<()>) -> F + Send + Sync + 'static,
    ) where
        F: Future<Output = ()> + Send + 'static,
    {
        let (auth, stop) = (auth.clone(), self.stop.subscribe());
        let job = move |stop| job(auth.clone(), stop);
        let running = keep_running(name, DATABASE_RETRY, stop, job);
        self.tasks.push(tokio::spawn(running));
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

/// Runs a job until it is stopped. A job that panics is started again after a pause: its work is
/// needed as long as the service runs.
async fn keep_running<F>(
    name: &'static str,
    pause: Duration,
    mut stop: watch::Receiver<()>,
    job: impl Fn(watch::Receiver<()>) -> F,
) where
    F: Future<Output = ()> + Send + 'static,
{
    // In a task of its own, which a panic ends. The panic itself has been logged.
    while tokio::spawn(job(stop.clone())).await.is_err() {
        tracing::error!(
            job = name,
            "a background job has ended because of a bug, and is started again in {} s",
            pause.as_secs()
        );
        tokio::select! {
            () = time::sleep(pause) => {}
            _ = stop.changed() => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    };

    use tokio::task::yield_now;

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(20);

    /// Runs a job that panics at its first `panics` starts, until it was started `starts` times,
    /// and stops it.
    async fn run_until_started(starts: usize, panics: usize, pause: Duration) {
        let (stop, started) = (watch::Sender::new(()), Arc::new(AtomicUsize::new(0)));
        let counter = Arc::clone(&started);
        let job = move |mut stop: watch::Receiver<()>| {
            let start = counter.fetch_add(1, Ordering::SeqCst);
            async move {
                assert!(start >= panics, "this panic belongs to the test");
                let _ = stop.changed().await;
            }
        };
        let running = tokio::spawn(keep_running("test", pause, stop.subscribe(), job));
        let until_started = async {
            while started.load(Ordering::SeqCst) < starts {
                yield_now().await;
            }
        };
        time::timeout(PATIENCE, until_started).await.unwrap();
        assert!(!running.is_finished());
        stop.send(()).unwrap();
        time::timeout(PATIENCE, running).await.unwrap().unwrap();
        assert_eq!(started.load(Ordering::SeqCst), starts);
    }

    #[tokio::test]
    async fn a_job_is_started_again_after_a_panic() {
        run_until_started(3, 2, Duration::ZERO).await;
    }

    #[tokio::test]
    async fn a_job_is_stopped_during_the_pause_after_a_panic() {
        run_until_started(1, 1, Duration::from_secs(3_600)).await;
    }
}
