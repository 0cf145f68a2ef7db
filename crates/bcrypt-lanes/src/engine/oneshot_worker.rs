//! The threads that run one-shot jobs.
//!
//! As with the lanes, each worker has a background and a foreground thread, of which one
//! works at a time. The worker moves to the foreground thread while the background thread
//! is starved, from one job to the next.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    time::{Duration, Instant},
};

use super::{
    SourceKey,
    cpu_share::{CpuShare, CpuShareMonitor},
    duplex::Duplex,
    job::{Job as _, OneshotJob},
    priority,
    scheduler::Measurement,
    worker_pool::WorkerPool,
};

/// The time for which an idle foreground thread keeps the worker, so that calls in sequence
/// do not each meet a starved thread.
const IDLE_TIMEOUT: Duration = Duration::from_secs(1);

/// A worker of the pool, which its two threads pass to each other.
pub(super) struct OneshotWorker {
    /// The number of this worker in the pool.
    number: usize,
    share_monitor: CpuShareMonitor,
    /// The work since the last report.
    measurement: Option<Measurement>,
}

/// Runs the background thread, which computes while it is not starved.
pub(super) fn run_background<K: SourceKey>(
    pool: &WorkerPool<OneshotJob, K>,
    worker: OneshotWorker,
    peer: &Duplex<OneshotWorker>,
) {
    priority::set_low();
    let mut worker = Some(worker);
    while let Some(mut next) = worker.take().or_else(|| peer.receive()) {
        if !next.work(pool, CpuShare::Starved) || !peer.send(next) {
            return;
        }
    }
}

/// Runs the foreground thread, which computes while the background thread is starved.
pub(super) fn run_foreground<K: SourceKey>(
    pool: &WorkerPool<OneshotJob, K>,
    share: u8,
    peer: &Duplex<OneshotWorker>,
) {
    priority::set_for_share(share);
    while let Some(mut worker) = peer.receive() {
        if !worker.work(pool, CpuShare::Ample) || !peer.send(worker) {
            return;
        }
    }
}

impl OneshotWorker {
    pub(super) fn new(number: usize, share: u8) -> Self {
        Self {
            number,
            share_monitor: CpuShareMonitor::new(share),
            measurement: None,
        }
    }

    /// Runs jobs until this thread's share of the core is `until`. Returns `false` if the
    /// pool is closed.
    fn work<K: SourceKey>(&mut self, pool: &WorkerPool<OneshotJob, K>, until: CpuShare) -> bool {
        let timeout = (until == CpuShare::Ample).then_some(IDLE_TIMEOUT);
        self.share_monitor.restart();
        while let Some(jobs) =
            pool.next_jobs(self.number, Vec::new(), self.measurement.take(), timeout)
        {
            if jobs.is_empty() && timeout.is_some() {
                return true;
            }
            for job in jobs {
                if job.is_abandoned() {
                    continue;
                }
                let start = Instant::now();
                if catch_unwind(AssertUnwindSafe(|| job.run())).is_err() {
                    tracing::error!("a hash panicked, and has failed");
                }
                let elapsed = start.elapsed();
                self.measurement = Some(Measurement {
                    elapsed,
                    units: 1,
                    lanes: 1,
                });
                if self.share_monitor.observe(elapsed, elapsed) == Some(until) {
                    return true;
                }
            }
        }
        false
    }
}
