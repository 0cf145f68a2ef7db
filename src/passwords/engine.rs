//! Shares the cores among those who wait for a hash.
//!
//! bcrypt goes on in lanes, several to a core, that may be joined and left every half
//! millisecond; what has no lanes takes a thread for as long as it takes. Each
//! kind has its threads, one to a core, and gives way to everything else.

mod bcrypt_thread;
mod crew;
mod forecast;
mod gauge;
mod handover;
mod job;
mod pool;
mod priority;
mod pulse;
mod state;
#[cfg(test)]
mod tests;
mod waiting;
mod whole_thread;

use std::{io, sync::Arc, thread, time::Duration};

use thiserror::Error;
use tokio::sync::oneshot;

use self::{
    crew::Crew,
    handover::Handover,
    job::{BcryptJob, WholeJob},
    pool::Pool,
    state::Shape,
    whole_thread::Shift,
};
use super::{
    Purpose,
    kernel::{self, Digest, Input, MAX_LANES},
};
use crate::deadline::Deadline;

/// How many lanes take hardly longer than one (docs/hashing.md): while a core's are
/// not all taken, there is no need to wake another.
const LANES_FOR_NOTHING: usize = 3;

/// The least share of the cores that hashing can be given, in percent.
pub const MIN_SHARE: u8 = 1;

/// The largest: no thread may raise its own priority above that of those that serve
/// requests, and beside one of them each gets a half.
pub const MAX_SHARE: u8 = 50;

/// A half.
pub const DEFAULT_SHARE: u8 = 50;

/// A first guess at what a foreign hash takes, until one was measured.
const WHOLE_GUESS: Duration = Duration::from_millis(100);

/// Computes hashes for whoever waits, and for nobody else: dropping the future of
/// a call takes its computation out of the queue or its lane.
#[derive(Clone)]
pub(super) struct Engine(Arc<Pools>);

/// What is asked of the engine with a computation.
#[derive(Clone, Copy, Debug)]
pub(super) struct Demand {
    pub(super) purpose: Purpose,
    /// When its caller stops waiting.
    pub(super) deadline: Deadline,
    /// Refuse it unless it can begin at once and costs the others nothing.
    pub(super) only_if_idle: bool,
}

struct Pools {
    bcrypt: Arc<Pool<BcryptJob>>,
    whole: Arc<Pool<WholeJob>>,
    /// Whether the lanes compute what they should.
    is_proven: bool,
}

/// Why there is no result.
#[derive(Debug, Error)]
pub(super) enum EngineError {
    /// It could not begin soon enough.
    #[error("no capacity in time")]
    Overloaded {
        /// When to try again.
        retry_after: Duration,
    },
    /// It panicked.
    #[error("the computation panicked")]
    Broken,
}

impl Engine {
    /// Proves the lanes and starts the threads. What waits longer than `max_wait`
    /// to begin is refused. While somebody waits, the threads get `share` percent of
    /// their cores at least.
    pub(super) fn start(threads: usize, max_wait: Duration, share: u8) -> io::Result<Self> {
        let proof = kernel::prove();
        if let Err(mismatch) = &proof {
            tracing::error!(
                "{mismatch}: hashing goes on with that crate, at a fraction of the speed"
            );
        }
        Self::start_with(threads, max_wait, share, proof.ok())
    }

    fn start_with(
        threads: usize,
        max_wait: Duration,
        share: u8,
        pace: Option<kernel::Pace>,
    ) -> io::Result<Self> {
        let guess = pace.unwrap_or_default();
        let bcrypt = Arc::new(Pool::new(
            Shape {
                threads,
                lanes: MAX_LANES,
                lanes_for_nothing: LANES_FOR_NOTHING,
                max_wait,
            },
            guess.alone,
            guess.full,
        ));
        let whole = Arc::new(Pool::new(
            Shape {
                threads,
                lanes: 1,
                lanes_for_nothing: 1,
                max_wait,
            },
            WHOLE_GUESS,
            WHOLE_GUESS,
        ));
        let engine = Self(Arc::new(Pools {
            bcrypt: Arc::clone(&bcrypt),
            whole: Arc::clone(&whole),
            is_proven: pace.is_some(),
        }));
        for number in 0..threads {
            start_bcrypt(&bcrypt, Crew::new(number, guess, share), number, share)?;
            start_whole(&whole, number, share)?;
        }
        Ok(engine)
    }

    /// Whether one more computation would be let in now, as far as that can be told
    /// before it is known what it is. Where it would not, its caller is told when to come
    /// back, as if it were so much work.
    pub(super) fn look(&self, work: u64, demand: Demand) -> Result<(), EngineError> {
        if self.0.is_proven {
            self.0.bcrypt.look(work, demand)
        } else {
            self.0.whole.look(1, demand)
        }
    }

    /// Computes a bcrypt digest.
    pub(super) async fn bcrypt(&self, input: Input, demand: Demand) -> Result<Digest, EngineError> {
        if !self.0.is_proven {
            let compute = move || kernel::reference(&input);
            return self.whole(compute, demand).await;
        }
        let (reply, result) = oneshot::channel();
        let work = input.expansions();
        let job = BcryptJob { input, reply };
        let _place = self.0.bcrypt.enter(job, work, demand).await?;
        result.await.unwrap_or(Err(EngineError::Broken))
    }

    /// Computes anything else, on a thread of its own. Once begun it goes on to its
    /// end.
    pub(super) async fn whole<T: Send + 'static>(
        &self,
        compute: impl FnOnce() -> T + Send + 'static,
        demand: Demand,
    ) -> Result<T, EngineError> {
        let (reply, result) = oneshot::channel();
        let job = WholeJob::new(compute, reply);
        let _place = self.0.whole.enter(job, 1, demand).await?;
        result.await.unwrap_or(Err(EngineError::Broken))
    }
}

impl Drop for Pools {
    fn drop(&mut self) {
        self.bcrypt.close();
        self.whole.close();
    }
}

/// Starts the thread that works these lanes, and the one that relieves it.
fn start_bcrypt(
    pool: &Arc<Pool<BcryptJob>>,
    crew: Crew,
    number: usize,
    share: u8,
) -> io::Result<()> {
    let [usual, relief] = Handover::pair();
    let [pool, reliefs_pool] = [Arc::clone(pool), Arc::clone(pool)];
    spawn(format!("bcrypt-{number}"), move || {
        bcrypt_thread::run(&pool, &usual);
    })?;
    spawn(format!("relief-{number}"), move || {
        bcrypt_thread::relieve(&reliefs_pool, crew, share, &relief);
    })
}

/// The same for what has no lanes.
fn start_whole(pool: &Arc<Pool<WholeJob>>, number: usize, share: u8) -> io::Result<()> {
    let [usual, relief] = Handover::pair();
    let [pool, reliefs_pool] = [Arc::clone(pool), Arc::clone(pool)];
    spawn(format!("hash-{number}"), move || {
        whole_thread::run(&pool, Shift::new(number, share), &usual);
    })?;
    spawn(format!("hash-relief-{number}"), move || {
        whole_thread::relieve(&reliefs_pool, share, &relief);
    })
}

fn spawn(name: String, run: impl FnOnce() + Send + 'static) -> io::Result<()> {
    thread::Builder::new().name(name).spawn(run).map(drop)
}
