//! The lanes of one core, and whom their digests are for.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    time::{Duration, Instant},
};

use super::{
    forecast::times,
    gauge::Gauge,
    job::{BcryptJob, Job as _, Reply},
    pool::Pool,
    pulse::{Pulse, Share},
    state::Seen,
};
use crate::passwords::kernel::{Digest, Lanes, MAX_LANES, Pace};

/// How long the lanes go on before somebody may join or leave. Half a millisecond, so that what is done for somebody who has just left, with
/// all that it takes to hear of it, stays under one.
const SLICE: Duration = Duration::from_micros(500);

/// Lanes at work.
pub(super) struct Crew {
    /// Which of the pool's threads this is.
    number: usize,
    pace: Pace,
    lanes: Lanes,
    replies: Vec<Reply<Digest>>,
    /// How long one expansion of all lanes takes, for each number of lanes.
    steps: [Gauge; MAX_LANES + 1],
    /// And at best.
    best_steps: [Duration; MAX_LANES + 1],
    pulse: Pulse,
}

impl Crew {
    pub(super) fn new(number: usize, pace: Pace) -> Self {
        Self {
            number,
            pace,
            lanes: Lanes::new(),
            replies: Vec::with_capacity(MAX_LANES),
            steps: [Gauge::new(pace.full); MAX_LANES + 1],
            best_steps: [Duration::MAX; MAX_LANES + 1],
            pulse: Pulse::default(),
        }
    }

    /// The same with nothing in its lanes.
    pub(super) fn fresh(&self) -> Self {
        Self::new(self.number, self.pace)
    }

    /// Works until the core's share is that, or was looked at so often without being
    /// it; `false` when the pool is closed.
    pub(super) fn work(&mut self, pool: &Pool<BcryptJob>, until: Share, looks: u32) -> bool {
        let mut seen = None;
        let mut looked = 0;
        loop {
            self.let_leave();
            let Some(joining) = pool.come_by(self.number, self.free_at(), seen) else {
                return false;
            };
            for job in joining {
                self.let_join(job);
            }
            let share;
            (seen, share) = self.advance();
            looked += u32::from(share.is_some());
            if share == Some(until) || looked >= looks {
                return true;
            }
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
    fn advance(&mut self) -> (Option<Seen>, Option<Share>) {
        let lanes = self.lanes.len();
        let at_most = SLICE.as_nanos() / self.steps[lanes].unit().as_nanos();
        let begun = Instant::now();
        let steps = self.lanes.advance((at_most as u64).max(1));
        let took = begun.elapsed();
        let Some(step) = took.checked_div(steps as u32) else {
            return (None, None);
        };
        self.steps[lanes].observe(took, steps);
        let best = &mut self.best_steps[lanes];
        *best = step.min(*best);
        let seen = Seen {
            took,
            units: steps,
            lanes,
        };
        (Some(seen), self.pulse.observe(took, times(*best, steps)))
    }

    /// When each lane in use will be ready.
    fn free_at(&self) -> Vec<Instant> {
        let now = Instant::now();
        let step = self.steps[self.lanes.len()].unit();
        (0..self.lanes.len())
            .map(|lane| now + times(step, self.lanes.to_go(lane)))
            .collect()
    }
}
