//! The engine: queues, admission and the threads that compute.
//!
//! bcrypt is computed in lanes, which jobs enter and leave several thousand times a second.
//! Other functions occupy a thread from beginning to end. Each kind has its own pool with
//! one worker per core.

mod config;
mod cpu_share;
mod duplex;
mod ewma;
mod fair_queue;
mod job;
mod lane_threads;
mod lane_worker;
mod oneshot_worker;
mod priority;
mod retry_schedule;
mod scheduler;
#[cfg(test)]
mod tests;
mod wait_estimate;
mod worker_pool;

use std::{io, sync::Arc, thread, time::Duration};

use thiserror::Error;
use tokio::sync::oneshot;

pub use self::config::{DEFAULT_SHARE, EngineConfig, JobOptions, MAX_SHARE, MIN_SHARE, SourceKey};
use self::{
    duplex::Duplex,
    job::{BcryptJob, OneshotJob},
    lane_worker::LaneWorker,
    oneshot_worker::OneshotWorker,
    scheduler::PoolConfig,
    worker_pool::WorkerPool,
};
use crate::kernel::{self, Digest, ExpansionTimes, Input, MAX_LANES};

/// The number of lanes that take hardly longer than one (see the crate's benchmark). Below
/// it, a core takes another job before a second core is woken.
const CHEAP_LANES: usize = 3;

/// The assumed time of a one-shot job until one has been measured.
const ONESHOT_GUESS: Duration = Duration::from_millis(100);

/// Computes hashes on threads of its own. Cheap to clone; all clones share the threads,
/// which end when the last clone is dropped.
///
/// Dropping the future of a call removes its job from the queue, and a bcrypt job also from
/// its lane.
///
/// `K` is the type of [`JobOptions::source`].
pub struct Engine<K: SourceKey>(Arc<Pools<K>>);

struct Pools<K: SourceKey> {
    bcrypt: Arc<WorkerPool<BcryptJob, K>>,
    oneshot: Arc<WorkerPool<OneshotJob, K>>,
    /// Whether the lanes passed the start-up proof.
    is_proven: bool,
}

/// The reason for a missing result.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum EngineError {
    /// The job could not begin soon enough, or not end before its deadline.
    #[error("no capacity in time")]
    Overloaded {
        /// The time after which a retry is expected to be admitted:
        ///
        /// - Where the wait would be too long: at most ten seconds, spread over the refused
        ///   callers (except those refused while the queue was locked).
        /// - Where the job would not end before its deadline even if it began at once: the
        ///   time in which it would have ended.
        /// - Where the job is [`only_if_idle`](JobOptions::only_if_idle) and the engine is
        ///   not: zero.
        retry_after: Duration,
    },
    /// The computation panicked.
    #[error("the computation panicked")]
    Panicked,
}

impl<K: SourceKey> Engine<K> {
    /// Proves the lanes, which takes some milliseconds, and starts the threads.
    ///
    /// # Errors
    ///
    /// `InvalidInput` for a setting out of range, and the operating system's error if it
    /// refuses a thread.
    pub fn start(config: EngineConfig) -> io::Result<Self> {
        let proof = kernel::prove();
        if let Err(mismatch) = &proof {
            tracing::error!("{mismatch}: using that crate, at a fraction of the speed");
        }
        Self::start_with(config, proof.ok())
    }

    /// Starts the threads, which use the lanes if there are measured times for them.
    fn start_with(config: EngineConfig, proven: Option<ExpansionTimes>) -> io::Result<Self> {
        if let Err(description) = config.check() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, description));
        }
        let EngineConfig {
            threads,
            max_wait,
            share,
            class_weights,
        } = config;
        let times = proven.unwrap_or_default();
        let bcrypt = Arc::new(WorkerPool::new(
            PoolConfig {
                threads,
                lanes: MAX_LANES,
                cheap_lanes: CHEAP_LANES,
                max_wait,
            },
            &class_weights,
            times.one_lane,
            times.all_lanes,
        ));
        let oneshot = Arc::new(WorkerPool::new(
            PoolConfig {
                threads,
                lanes: 1,
                cheap_lanes: 1,
                max_wait,
            },
            &class_weights,
            ONESHOT_GUESS,
            ONESHOT_GUESS,
        ));
        let engine = Self(Arc::new(Pools {
            bcrypt: Arc::clone(&bcrypt),
            oneshot: Arc::clone(&oneshot),
            is_proven: proven.is_some(),
        }));
        for number in 0..threads {
            start_lane_threads(
                &bcrypt,
                LaneWorker::new(number, times, share),
                number,
                share,
            )?;
            start_oneshot_threads(&oneshot, number, share)?;
        }
        Ok(engine)
    }

    /// Whether bcrypt is computed in lanes: `false` if they failed the start-up proof.
    pub fn uses_lanes(&self) -> bool {
        self.0.is_proven
    }

    /// Checks whether a bcrypt job would be admitted now, without knowing its cost; takes
    /// about a microsecond. Reserves nothing. The retry time of a refusal assumes `cost`.
    ///
    /// Use it before preparing a job, so that a refused caller costs little.
    ///
    /// # Errors
    ///
    /// `Overloaded`.
    pub fn check_admission(&self, cost: u32, options: JobOptions<K>) -> Result<(), EngineError> {
        if self.0.is_proven {
            let work = kernel::expansions(cost);
            self.0.bcrypt.check_admission(work, options)
        } else {
            self.0.oneshot.check_admission(1, options)
        }
    }

    /// Computes a bcrypt digest.
    ///
    /// # Errors
    ///
    /// [`EngineError`].
    pub async fn bcrypt(
        &self,
        input: Input,
        options: JobOptions<K>,
    ) -> Result<Digest, EngineError> {
        if !self.0.is_proven {
            let compute = move || input.reference_digest();
            return self.run(compute, options).await;
        }
        let (reply, result) = oneshot::channel();
        let work = input.expansions();
        let job = BcryptJob { input, reply };
        let _queued = self.0.bcrypt.submit(job, work, options).await?;
        result.await.unwrap_or(Err(EngineError::Panicked))
    }

    /// Runs another slow function on a thread of the engine, by the same rules. Once begun,
    /// it runs to its end, even if the caller leaves. All such functions are assumed to take
    /// about the same time.
    ///
    /// # Errors
    ///
    /// [`EngineError`].
    pub async fn run<T: Send + 'static>(
        &self,
        compute: impl FnOnce() -> T + Send + 'static,
        options: JobOptions<K>,
    ) -> Result<T, EngineError> {
        let (reply, result) = oneshot::channel();
        let job = OneshotJob::new(compute, reply);
        let _queued = self.0.oneshot.submit(job, 1, options).await?;
        result.await.unwrap_or(Err(EngineError::Panicked))
    }
}

impl<K: SourceKey> Clone for Engine<K> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<K: SourceKey> std::fmt::Debug for Engine<K> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Engine").finish_non_exhaustive()
    }
}

impl<K: SourceKey> Drop for Pools<K> {
    fn drop(&mut self) {
        self.bcrypt.close();
        self.oneshot.close();
    }
}

/// Starts the background and the foreground thread of one core's lanes.
fn start_lane_threads<K: SourceKey>(
    pool: &Arc<WorkerPool<BcryptJob, K>>,
    worker: LaneWorker,
    number: usize,
    share: u8,
) -> io::Result<()> {
    let [background, foreground] = Duplex::pair();
    let [background_pool, foreground_pool] = [Arc::clone(pool), Arc::clone(pool)];
    spawn(format!("bcrypt-{number}"), move || {
        lane_threads::run_background(&background_pool, &background);
    })?;
    spawn(format!("bcrypt-fg-{number}"), move || {
        lane_threads::run_foreground(&foreground_pool, worker, share, &foreground);
    })
}

/// Starts the background and the foreground thread of one worker for one-shot jobs.
fn start_oneshot_threads<K: SourceKey>(
    pool: &Arc<WorkerPool<OneshotJob, K>>,
    number: usize,
    share: u8,
) -> io::Result<()> {
    let [background, foreground] = Duplex::pair();
    let [background_pool, foreground_pool] = [Arc::clone(pool), Arc::clone(pool)];
    spawn(format!("oneshot-{number}"), move || {
        let worker = OneshotWorker::new(number, share);
        oneshot_worker::run_background(&background_pool, worker, &background);
    })?;
    spawn(format!("oneshot-fg-{number}"), move || {
        oneshot_worker::run_foreground(&foreground_pool, share, &foreground);
    })
}

fn spawn(name: String, run: impl FnOnce() + Send + 'static) -> io::Result<()> {
    thread::Builder::new().name(name).spawn(run).map(drop)
}
