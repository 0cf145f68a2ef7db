//! A thread that computes bcrypt in lanes, slice by slice.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    time::{Duration, Instant},
};

use super::{
    job::{BcryptJob, Job as _, Reply},
    pool::{Pool, Seen},
};
use crate::passwords::kernel::{Digest, Lanes, MAX_LANES, Pace};

/// How long the lanes go on before somebody may join or leave.
const SLICE: Duration = Duration::from_millis(1);

/// Computes until the pool is closed.
pub(super) fn run(pool: &Pool<BcryptJob>, thread: usize, pace: Pace) {
    while catch_unwind(AssertUnwindSafe(|| Crew::new(pace).work(pool, thread))).is_err() {
        tracing::error!("a hashing thread panicked; what it had begun has failed");
    }
}

/// The lanes of one thread, and whom their digests are for.
struct Crew {
    lanes: Lanes,
    replies: Vec<Reply<Digest>>,
    /// How long one expansion of all lanes takes, for each number of lanes.
    steps: [Duration; MAX_LANES + 1],
}

impl Crew {
    fn new(pace: Pace) -> Self {
        Self {
            lanes: Lanes::new(),
            replies: Vec::with_capacity(MAX_LANES),
            steps: [pace.full; MAX_LANES + 1],
        }
    }

    fn work(mut self, pool: &Pool<BcryptJob>, thread: usize) {
        let mut seen = None;
        loop {
            self.let_leave();
            let Some(joining) = pool.come_by(thread, self.free_at(), seen) else {
                return;
            };
            for job in joining {
                self.let_join(job);
            }
            seen = self.advance();
        }
    }

    /// Answers whoever's digest is ready, and drops whatever nobody waits for.
    fn let_leave(&mut self) {
        for lane in (0..self.lanes.len()).rev() {
            let is_done = self.lanes.to_go(lane) == 0;
            if !is_done && !self.replies[lane].is_closed() {
                continue;
            }
            let digest = is_done.then(|| self.lanes.digest(lane));
            self.lanes.leave(lane);
            let reply = self.replies.swap_remove(lane);
            if let Some(digest) = digest {
                let _ = reply.send(Ok(digest));
            }
        }
    }

    fn let_join(&mut self, job: BcryptJob) {
        if job.is_abandoned() {
            return;
        }
        // Not to take the others down.
        let joined = catch_unwind(AssertUnwindSafe(|| self.lanes.join(&job.input)));
        match joined {
            Ok(()) => self.replies.push(job.reply),
            Err(_) => tracing::error!("a hash panicked as it began, and has failed"),
        }
    }

    /// Works for a slice, or less if one is ready sooner.
    fn advance(&mut self) -> Option<Seen> {
        let lanes = self.lanes.len();
        let step = self.steps[lanes].max(Duration::from_nanos(1));
        let at_most = (SLICE.as_nanos() / step.as_nanos()).max(1) as u64;
        let begun = Instant::now();
        let steps = u32::try_from(self.lanes.advance(at_most)).ok()?;
        let unit = begun.elapsed().checked_div(steps)?;
        self.steps[lanes] = unit;
        Some(Seen {
            unit,
            is_full: lanes == MAX_LANES,
        })
    }

    /// When each lane in use will be ready.
    fn free_at(&self) -> Vec<Instant> {
        let now = Instant::now();
        let step = self.steps[self.lanes.len()];
        (0..self.lanes.len())
            .map(|lane| now + super::forecast::times(step, self.lanes.to_go(lane)))
            .collect()
    }
}
