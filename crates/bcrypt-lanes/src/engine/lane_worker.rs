//! The lanes of one core, and the callers that wait for their digests.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    time::{Duration, Instant},
};

use super::{
    SourceKey,
    cpu_share::{CpuShare, CpuShareMonitor},
    ewma::Ewma,
    job::{BcryptJob, Job as _, Reply},
    scheduler::Measurement,
    wait_estimate::times,
    worker_pool::WorkerPool,
};
use crate::kernel::{Digest, ExpansionTimes, Lanes, MAX_LANES};

/// The time between two moments at which jobs may enter or leave the lanes. A third of a
/// millisecond, so that less than one is spent on a caller after it has left, including
/// the time to learn of it.
const SLICE: Duration = Duration::from_micros(333);

/// The time between reports to the pool while no job enters or leaves. Longer than a slice,
/// since this thread may lose its core while it holds the pool's lock.
const REPORT_EVERY: Duration = Duration::from_millis(5);

/// The pool of the lane workers.
pub(super) type LanePool<K> = WorkerPool<BcryptJob, K>;

/// The reason for which a thread stops advancing the lanes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum StopReason {
    /// The thread's share of its core is the awaited one.
    ShareReached,
    /// The lanes are empty, and no job waits.
    Empty,
    /// The pool is closed.
    Closed,
}

/// The lanes of one core with the state that moves between its two threads.
pub(super) struct LaneWorker {
    /// The number of this worker in the pool.
    number: usize,
    times: ExpansionTimes,
    lanes: Lanes,
    /// One for each lane in use.
    replies: Vec<Reply<Digest>>,
    /// The time of one expansion of all lanes, for each number of lanes in use.
    step_times: [Ewma; MAX_LANES + 1],
    /// The shortest such time.
    best_step_times: [Duration; MAX_LANES + 1],
    share_monitor: CpuShareMonitor,
    /// The guaranteed share of the core, in percent.
    share: u8,
    /// The work since the last report.
    measurement: Option<Measurement>,
    last_report: Option<Instant>,
}

impl LaneWorker {
    /// A worker with empty lanes.
    pub(super) fn new(number: usize, times: ExpansionTimes, share: u8) -> Self {
        Self {
            number,
            times,
            lanes: Lanes::new(),
            replies: Vec::with_capacity(MAX_LANES),
            step_times: [Ewma::new(times.all_lanes); MAX_LANES + 1],
            best_step_times: [Duration::MAX; MAX_LANES + 1],
            share_monitor: CpuShareMonitor::new(share),
            share,
            measurement: None,
            last_report: None,
        }
    }

    /// The same worker with empty lanes and no measurements.
    pub(super) fn fresh(&self) -> Self {
        Self::new(self.number, self.times, self.share)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.lanes.is_empty()
    }

    /// Blocks until a job can begin, and begins it. Returns `false` if the pool is closed.
    pub(super) fn begin<K: SourceKey>(&mut self, pool: &LanePool<K>) -> bool {
        while self.is_empty() {
            if !self.report(pool, None) {
                return false;
            }
        }
        true
    }

    /// Advances the lanes until this thread's share of the core is `until`, or the lanes are
    /// empty.
    pub(super) fn work<K: SourceKey>(&mut self, pool: &LanePool<K>, until: CpuShare) -> StopReason {
        self.share_monitor.restart();
        self.last_report = None;
        loop {
            let before = self.lanes.len();
            self.complete_jobs();
            if (self.lanes.len() < before || self.should_report(pool))
                && !self.report(pool, Some(Duration::ZERO))
            {
                return StopReason::Closed;
            }
            if self.is_empty() {
                return StopReason::Empty;
            }
            if self.run_slice() == Some(until) {
                return StopReason::ShareReached;
            }
        }
    }

    /// Reports the lanes to the pool and takes the jobs that begin; blocks for them until
    /// `timeout` has passed, or without limit. Returns `false` if the pool is closed.
    fn report<K: SourceKey>(&mut self, pool: &LanePool<K>, timeout: Option<Duration>) -> bool {
        let (free_at, measurement) = (self.free_at(), self.measurement.take());
        let Some(jobs) = pool.next_jobs(self.number, free_at, measurement, timeout) else {
            return false;
        };
        for job in jobs {
            self.begin_job(job);
        }
        self.last_report = Some(Instant::now());
        true
    }

    fn should_report<K: SourceKey>(&self, pool: &LanePool<K>) -> bool {
        let is_due = |last: Instant| last.elapsed() >= REPORT_EVERY;
        self.is_empty() || self.last_report.is_none_or(is_due) || pool.has_job_for(self.lanes.len())
    }

    /// Replies to the callers whose digests are ready, and removes the jobs of callers that
    /// have left.
    fn complete_jobs(&mut self) {
        for lane in (0..self.lanes.len()).rev() {
            let is_done = self.lanes.remaining(lane) == 0;
            if !is_done && !self.replies[lane].is_closed() {
                continue;
            }
            let digest = is_done.then(|| self.lanes.digest(lane));
            self.lanes.remove(lane);
            let reply = self.replies.swap_remove(lane);
            if let Some(digest) = digest {
                let _ = reply.send(Ok(digest));
            }
        }
    }

    fn begin_job(&mut self, job: BcryptJob) {
        if job.is_abandoned() {
            return;
        }
        // A panic must not affect the other lanes.
        let added = catch_unwind(AssertUnwindSafe(|| self.lanes.add(&job.input)));
        match added {
            Ok(()) => self.replies.push(job.reply),
            Err(_) => tracing::error!("a hash panicked as it began, and has failed"),
        }
    }

    /// Advances the lanes for a slice, or until the first of them is done. Returns the share
    /// of the core at the end of each window of measurement.
    fn run_slice(&mut self) -> Option<CpuShare> {
        let lanes = self.lanes.len();
        let at_most = SLICE.as_nanos() / self.step_times[lanes].unit().as_nanos();
        let start = Instant::now();
        let steps = self.lanes.advance((at_most as u64).max(1));
        let elapsed = start.elapsed();
        let step = elapsed.checked_div(steps as u32)?;
        self.step_times[lanes].observe(elapsed, steps);
        let best = &mut self.best_step_times[lanes];
        *best = step.min(*best);
        let before = self.measurement.filter(|before| before.lanes == lanes);
        self.measurement = Some(Measurement {
            elapsed: elapsed + before.map_or(Duration::ZERO, |before| before.elapsed),
            units: steps + before.map_or(0, |before| before.units),
            lanes,
        });
        self.share_monitor.observe(elapsed, times(*best, steps))
    }

    /// The expected end of each job in the lanes.
    fn free_at(&self) -> Vec<Instant> {
        let now = Instant::now();
        let step = self.step_times[self.lanes.len()].unit();
        (0..self.lanes.len())
            .map(|lane| now + times(step, self.lanes.remaining(lane)))
            .collect()
    }
}
