//! The worker threads of one kind of job, and the queue in front of them.
//!
//! Between two slices of its work, each thread reports the state of its lanes and takes the
//! jobs that begin.
//!
//! A worker may lose its core at any moment, also while it holds the lock, and may not get
//! it back for a long time. Callers share their threads with unrelated tasks, so they never
//! block on the lock: they try it, and yield while they cannot have it.

use std::{
    hint,
    num::NonZeroU16,
    sync::{
        Condvar, Mutex, MutexGuard, PoisonError, TryLockError,
        atomic::{AtomicU64, AtomicUsize, Ordering},
        mpsc::{self, Receiver, Sender},
    },
    time::{Duration, Instant},
};

use tokio::time;

use super::{
    EngineError, JobOptions, SourceKey,
    fair_queue::JobId,
    job::{Job, QueuedJob},
    retry_schedule::MAX_RETRY_AFTER,
    scheduler::{Measurement, PoolConfig, Scheduler},
};

/// The number of times that a caller tries the lock before it yields: some microseconds,
/// about as long as the lock is held.
const TRIES: usize = 50;

/// The time for which a caller yields before it tries the lock again.
const RETRY_LOCK: Duration = Duration::from_millis(1);

/// The time between two searches of the queue for late jobs.
const EVICT_EVERY: Duration = Duration::from_millis(1);

/// A pool of workers and its queue.
pub(super) struct WorkerPool<J, K> {
    config: PoolConfig,
    inner: Mutex<Inner<J, K>>,
    /// Notified when there is a job for an idle worker.
    job_queued: Condvar,
    /// Receives cancelled jobs when the lock could not be taken.
    cancelled: Sender<JobId<K>>,
    /// The number of jobs in the queue.
    queued: AtomicUsize,
    /// For each class, the estimated wait in nanoseconds of one more job, from a new source.
    published_waits: Box<[AtomicU64]>,
}

/// The data that the lock guards.
struct Inner<J, K> {
    scheduler: Scheduler<J, K>,
    cancelled: Receiver<JobId<K>>,
    last_eviction: Instant,
}

/// A job in the queue. When dropped, the job is removed if it has not begun.
pub(super) struct QueueGuard<'a, J: Job, K: SourceKey> {
    pool: &'a WorkerPool<J, K>,
    id: JobId<K>,
}

impl<J: Job, K: SourceKey> WorkerPool<J, K> {
    /// With guesses at the time of a unit of work, in a single lane and in all lanes.
    pub(super) fn new(
        config: PoolConfig,
        class_weights: &[NonZeroU16],
        one_lane: Duration,
        all_lanes: Duration,
    ) -> Self {
        let (sender, receiver) = mpsc::channel();
        Self {
            config,
            inner: Mutex::new(Inner {
                scheduler: Scheduler::new(config, class_weights, one_lane, all_lanes),
                cancelled: receiver,
                last_eviction: Instant::now(),
            }),
            job_queued: Condvar::new(),
            cancelled: sender,
            queued: AtomicUsize::new(0),
            published_waits: class_weights.iter().map(|_| AtomicU64::new(0)).collect(),
        }
    }

    /// Whether one more job would be admitted, ignoring its own work. `work` determines the
    /// retry time of a refusal.
    pub(super) fn check_admission(
        &self,
        work: u64,
        options: JobOptions<K>,
    ) -> Result<(), EngineError> {
        self.check_class(options.class);
        let now = Instant::now();
        let Some(mut inner) = self.try_lock() else {
            return self.check_published_wait(options, now);
        };
        let scheduler = &mut inner.scheduler;
        let mut estimate = scheduler.wait_estimate(now);
        scheduler
            .admit(&mut estimate, 0, options, now)
            .map_err(|refusal| EngineError::Overloaded {
                retry_after: scheduler.refuse(&estimate, now, refusal, work, options.class),
            })
    }

    /// Like `check_admission`, by the last published wait.
    fn check_published_wait(
        &self,
        options: JobOptions<K>,
        now: Instant,
    ) -> Result<(), EngineError> {
        let wait = self.published_waits[options.class].load(Ordering::Relaxed);
        let longest = options.time_left(now).min(self.config.max_admitted_wait());
        match Duration::from_nanos(wait).checked_sub(longest) {
            Some(room_in) if !room_in.is_zero() => Err(EngineError::Overloaded {
                retry_after: room_in.min(MAX_RETRY_AFTER),
            }),
            _ => Ok(()),
        }
    }

    /// Queues a job, or refuses it if it could not begin soon enough or end before its
    /// deadline.
    pub(super) async fn submit(
        &self,
        job: J,
        work: u64,
        options: JobOptions<K>,
    ) -> Result<QueueGuard<'_, J, K>, EngineError> {
        self.check_class(options.class);
        loop {
            if let Some(inner) = self.try_lock() {
                return self.submit_locked(inner, job, work, options);
            }
            self.check_published_wait(options, Instant::now())?;
            time::sleep(RETRY_LOCK).await;
        }
    }

    fn submit_locked(
        &self,
        mut inner: MutexGuard<'_, Inner<J, K>>,
        job: J,
        work: u64,
        options: JobOptions<K>,
    ) -> Result<QueueGuard<'_, J, K>, EngineError> {
        let now = Instant::now();
        let scheduler = &mut inner.scheduler;
        if options.only_if_idle && !scheduler.is_idle() {
            let retry_after = Duration::ZERO;
            return Err(EngineError::Overloaded { retry_after });
        }
        let mut estimate = scheduler.wait_estimate(now);
        if let Err(refusal) = scheduler.admit(&mut estimate, work, options, now) {
            let retry_after = scheduler.refuse(&estimate, now, refusal, work, options.class);
            return Err(EngineError::Overloaded { retry_after });
        }
        let queued = QueuedJob {
            job,
            work,
            since: now,
        };
        let id = scheduler.queue.push(options.class, options.source, queued);
        let evicted = scheduler.evict_late(now);
        inner.last_eviction = now;
        self.wake_worker(&mut inner.scheduler);
        self.publish(&inner.scheduler, now);
        drop(inner);
        refuse_all(evicted);
        Ok(QueueGuard { pool: self, id })
    }

    /// For a worker: reports the expected ends of its lanes in use, and takes the jobs that
    /// begin in its other lanes. Blocks while the worker has nothing to do, until `timeout`
    /// has passed. Returns `None` when the pool is closed.
    pub(super) fn next_jobs(
        &self,
        thread: usize,
        in_use: Vec<Instant>,
        measurement: Option<Measurement>,
        timeout: Option<Duration>,
    ) -> Option<Vec<J>> {
        let mut inner = self.lock();
        inner.scheduler.threads[thread] = in_use;
        if let Some(measurement) = measurement {
            inner.scheduler.observe(measurement);
        }
        let until = timeout.map(|timeout| Instant::now() + timeout);
        loop {
            if inner.scheduler.is_closed {
                return None;
            }
            let now = Instant::now();
            if now.duration_since(inner.last_eviction) >= EVICT_EVERY {
                inner.last_eviction = now;
                let evicted = inner.scheduler.evict_late(now);
                if !evicted.is_empty() {
                    drop(inner);
                    refuse_all(evicted);
                    inner = self.lock();
                    continue;
                }
            }
            let begun = inner.scheduler.begin(thread, now);
            let has_work = !inner.scheduler.threads[thread].is_empty();
            self.publish(&inner.scheduler, now);
            if has_work || until.is_some_and(|until| until <= now) {
                self.wake_worker(&mut inner.scheduler);
                return Some(begun);
            }
            inner = self.sleep(inner, until.map(|until| until - now));
        }
    }

    /// Whether a job waits that may begin on a worker with `in_use` lanes in use.
    pub(super) fn has_job_for(&self, in_use: usize) -> bool {
        in_use < self.config.lanes && self.queued.load(Ordering::Relaxed) > 0
    }

    /// Ends the workers. Jobs that have begun get no result.
    pub(super) fn close(&self) {
        self.lock().scheduler.is_closed = true;
        self.job_queued.notify_all();
    }

    /// Waits until a job is queued, or until `timeout` has passed.
    fn sleep<'a>(
        &self,
        mut inner: MutexGuard<'a, Inner<J, K>>,
        timeout: Option<Duration>,
    ) -> MutexGuard<'a, Inner<J, K>> {
        inner.scheduler.asleep += 1;
        let is_woken;
        (inner, is_woken) = match timeout {
            None => {
                let woken = self.job_queued.wait(inner);
                (woken.unwrap_or_else(PoisonError::into_inner), true)
            }
            Some(timeout) => {
                let woken = self.job_queued.wait_timeout(inner, timeout);
                let (inner, waited) = woken.unwrap_or_else(PoisonError::into_inner);
                (inner, !waited.timed_out())
            }
        };
        let scheduler = &mut inner.scheduler;
        scheduler.asleep -= 1;
        scheduler.woken = scheduler.woken.saturating_sub(usize::from(is_woken));
        // A thread notified just as its timeout passed counts as timed out.
        scheduler.woken = scheduler.woken.min(scheduler.asleep);
        inner
    }

    /// Wakes a worker if the ones that are awake, or notified, will not take all queued jobs.
    fn wake_worker(&self, scheduler: &mut Scheduler<J, K>) {
        let cheap = self.config.cheap_lanes;
        let awake = scheduler.threads.iter().filter(|in_use| !in_use.is_empty());
        let free: usize = awake.map(|in_use| cheap.saturating_sub(in_use.len())).sum();
        let free = free + scheduler.woken * cheap;
        if scheduler.asleep > scheduler.woken && scheduler.queue.len() > free {
            scheduler.woken += 1;
            self.job_queued.notify_one();
        }
    }

    /// Publishes the data for callers without the lock.
    fn publish(&self, scheduler: &Scheduler<J, K>, now: Instant) {
        self.queued.store(scheduler.queue.len(), Ordering::Relaxed);
        let mut estimate = scheduler.wait_estimate(now);
        for (class, published) in self.published_waits.iter().enumerate() {
            let wait = scheduler.wait_of_new_source(&mut estimate, class);
            let nanos = u64::try_from(wait.as_nanos()).unwrap_or(u64::MAX);
            published.store(nanos, Ordering::Relaxed);
        }
    }

    /// Before the lock is taken, so that a caller's mistake does not poison it.
    fn check_class(&self, class: usize) {
        let classes = self.published_waits.len();
        assert!(class < classes, "class {class} of {classes} classes");
    }

    /// For workers, which may block.
    fn lock(&self) -> MutexGuard<'_, Inner<J, K>> {
        // No operation under the lock can leave the data inconsistent.
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        inner.remove_cancelled();
        inner
    }

    /// For callers, which may spin for some microseconds only.
    fn try_lock(&self) -> Option<MutexGuard<'_, Inner<J, K>>> {
        for _ in 0..TRIES {
            let mut inner = match self.inner.try_lock() {
                Ok(inner) => inner,
                Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
                Err(TryLockError::WouldBlock) => {
                    hint::spin_loop();
                    continue;
                }
            };
            inner.remove_cancelled();
            return Some(inner);
        }
        None
    }
}

impl<J, K: SourceKey> Inner<J, K> {
    fn remove_cancelled(&mut self) {
        while let Ok(id) = self.cancelled.try_recv() {
            drop(self.scheduler.queue.remove(id));
        }
    }
}

#[cfg(test)]
impl<J: Job, K: SourceKey> WorkerPool<J, K> {
    /// The numbers of jobs that have begun and of jobs that wait.
    pub(super) fn load(&self) -> (usize, usize) {
        let scheduler = &self.lock().scheduler;
        let in_use = scheduler.threads.iter().map(Vec::len).sum();
        (in_use, scheduler.queue.len())
    }

    pub(super) fn load_by_thread(&self) -> Vec<usize> {
        self.lock().scheduler.threads.iter().map(Vec::len).collect()
    }

    /// Holds the lock until the result is dropped, like a worker without a core.
    pub(super) fn hold_lock(&self) -> impl Drop + '_ {
        self.lock()
    }

    pub(super) fn asleep(&self) -> usize {
        let scheduler = &self.lock().scheduler;
        scheduler.asleep - scheduler.woken
    }
}

/// Outside the lock, since it wakes the callers.
fn refuse_all<J: Job>(refused: Vec<(J, Duration)>) {
    for (job, retry_after) in refused {
        job.refuse(retry_after);
    }
}

impl<J: Job, K: SourceKey> Drop for QueueGuard<'_, J, K> {
    fn drop(&mut self) {
        match self.pool.try_lock() {
            Some(mut inner) => {
                let removed = inner.scheduler.queue.remove(self.id);
                drop(inner);
                drop(removed);
            }
            // The next thread that takes the lock removes the job.
            None => drop(self.pool.cancelled.send(self.id)),
        }
    }
}
