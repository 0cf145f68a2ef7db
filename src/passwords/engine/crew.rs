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

/// How long the lanes go on before a job may join or leave. A third of a millisecond, so
/// that the work for a caller that has just left, with the time to hear of that, stays
/// under one.
const SLICE: Duration = Duration::from_micros(333);

/// How often the pool hears of lanes that nobody joins or leaves. Not after each slice:
/// this thread may lose its core while it holds the pool's lock.
const COME_BY_EVERY: Duration = Duration::from_millis(5);

/// Why a thread stops working the lanes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// The share of its core is what it was to work until.
    Share,
    /// Nothing is in them, and nothing waits.
    Empty,
    /// The pool is closed.
    Closed,
}

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
    share: u8,
    /// What was done since the pool heard of it last.
    seen: Option<Seen>,
    came_by: Option<Instant>,
}

impl Crew {
    /// For one of the pool's threads, which is to have this share of its core, in
    /// percent.
    pub(super) fn new(number: usize, pace: Pace, share: u8) -> Self {
        Self {
            number,
            pace,
            lanes: Lanes::new(),
            replies: Vec::with_capacity(MAX_LANES),
            steps: [Gauge::new(pace.full); MAX_LANES + 1],
            best_steps: [Duration::MAX; MAX_LANES + 1],
            pulse: Pulse::new(share),
            share,
            seen: None,
            came_by: None,
        }
    }

    /// The same with nothing in its lanes.
    pub(super) fn fresh(&self) -> Self {
        Self::new(self.number, self.pace, self.share)
    }

    /// Whether nothing is in the lanes.
    pub(super) fn is_empty(&self) -> bool {
        self.lanes.len() == 0
    }

    /// Waits until something can begin, and begins it.
    pub(super) fn begin(&mut self, pool: &Pool<BcryptJob>) -> End {
        while self.is_empty() {
            if !self.come_by(pool, None) {
                return End::Closed;
            }
        }
        End::Share
    }

    /// Works until the share of this thread's core is that, or the lanes are empty.
    pub(super) fn work(&mut self, pool: &Pool<BcryptJob>, until: Share) -> End {
        self.pulse.restart();
        self.came_by = None;
        loop {
            let before = self.lanes.len();
            self.let_leave();
            if (self.lanes.len() < before || self.should_come_by(pool))
                && !self.come_by(pool, Some(Duration::ZERO))
            {
                return End::Closed;
            }
            if self.is_empty() {
                return End::Empty;
            }
            if self.advance() == Some(until) {
                return End::Share;
            }
        }
    }

    /// Tells the pool of the lanes and takes what begins in them; waits for that so long
    /// at most, or for ever. `false` when the pool is closed.
    fn come_by(&mut self, pool: &Pool<BcryptJob>, linger: Option<Duration>) -> bool {
        let (free_at, seen) = (self.free_at(), self.seen.take());
        let Some(joining) = pool.come_by(self.number, free_at, seen, linger) else {
            return false;
        };
        for job in joining {
            self.let_join(job);
        }
        self.came_by = Some(Instant::now());
        true
    }

    fn should_come_by(&self, pool: &Pool<BcryptJob>) -> bool {
        let lanes = self.lanes.len();
        let is_due = |came_by: Instant| came_by.elapsed() >= COME_BY_EVERY;
        self.is_empty() || self.came_by.is_none_or(is_due) || pool.has_job_for(lanes)
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

    /// Works for a slice, or less if one is ready sooner; tells the share of the core
    /// whenever it was looked at for long enough.
    fn advance(&mut self) -> Option<Share> {
        let lanes = self.lanes.len();
        let at_most = SLICE.as_nanos() / self.steps[lanes].unit().as_nanos();
        let begun = Instant::now();
        let steps = self.lanes.advance((at_most as u64).max(1));
        let took = begun.elapsed();
        let step = took.checked_div(steps as u32)?;
        self.steps[lanes].observe(took, steps);
        let best = &mut self.best_steps[lanes];
        *best = step.min(*best);
        let before = self.seen.filter(|seen| seen.lanes == lanes);
        self.seen = Some(Seen {
            took: took + before.map_or(Duration::ZERO, |seen| seen.took),
            units: steps + before.map_or(0, |seen| seen.units),
            lanes,
        });
        self.pulse.observe(took, times(*best, steps))
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
