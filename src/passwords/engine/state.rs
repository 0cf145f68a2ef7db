//! What a pool knows of its threads and its queue, and what follows from that: who is
//! let in, who begins, and who is refused.

use std::time::{Duration, Instant};

use super::{
    Demand,
    best::Best,
    forecast::{Openings, Returns, times},
    gauge::Gauge,
    waiting::{Number, Waiting},
};

/// What a pool is made of.
#[derive(Clone, Copy, Debug)]
pub(super) struct Shape {
    pub(super) threads: usize,
    /// How many computations one thread takes at once.
    pub(super) lanes: usize,
    /// How many of those cost the others nothing. Up to here a thread that is awake
    /// takes what comes; beyond, it is shared evenly.
    pub(super) lanes_for_nothing: usize,
    /// The longest that one may wait to begin.
    pub(super) max_wait: Duration,
}

impl Shape {
    /// The longest wait of one that was let in: a forecast may be off.
    fn tolerated_wait(&self) -> Duration {
        self.max_wait + self.max_wait / 8
    }
}

/// What a thread did since it came by last.
#[derive(Clone, Copy, Debug)]
pub(super) struct Seen {
    pub(super) took: Duration,
    pub(super) units: u64,
    /// Whether all of its lanes were taken.
    pub(super) is_full: bool,
}

/// All of it changes under the pool's lock.
pub(super) struct State<J> {
    pub(super) waiting: Waiting<J>,
    /// For each thread, when each of its lanes in use is free.
    pub(super) threads: Vec<Vec<Instant>>,
    pub(super) asleep: usize,
    /// Of those, how many have been woken and have not come by yet.
    pub(super) woken: usize,
    /// The time of a unit of work while every lane is taken.
    full: Gauge,
    best: Best,
    returns: Returns,
    pub(super) is_closed: bool,
}

impl<J> State<J> {
    pub(super) fn new(shape: Shape, full: Duration, best: Duration) -> Self {
        Self {
            waiting: Waiting::new(),
            threads: vec![Vec::new(); shape.threads],
            asleep: 0,
            woken: 0,
            full: Gauge::new(full),
            best: Best::new(best),
            returns: Returns::default(),
            is_closed: false,
        }
    }

    pub(super) fn openings(&self, shape: Shape, now: Instant) -> Openings {
        let in_use = self.threads.iter().flatten().copied();
        Openings::new(in_use, shape.threads * shape.lanes, now)
    }

    /// Whether one more begins at once and costs the others nothing.
    pub(super) fn is_idle(&self, shape: Shape) -> bool {
        let in_use: usize = self.threads.iter().map(Vec::len).sum();
        self.waiting.len() + in_use < shape.threads * shape.lanes_for_nothing
    }

    /// Whether there is room for one more; if not, when there will be.
    pub(super) fn admit(
        &mut self,
        shape: Shape,
        openings: &Openings,
        work: u64,
        demand: Demand,
        now: Instant,
    ) -> Result<(), Duration> {
        let ahead = self.waiting.ahead_of_another(demand.purpose);
        let wait = openings.wait(ahead, self.full.unit());
        let unit = if wait.is_zero() {
            self.best.unit()
        } else {
            self.full.unit()
        };
        let patience = demand.deadline.remaining(now);
        match patience.checked_sub(times(unit, work)) {
            Some(longest) if wait <= longest.min(shape.max_wait) => Ok(()),
            Some(longest) => Err(wait - longest.min(shape.max_wait)),
            None => {
                if wait.is_zero() {
                    self.best.doubt();
                }
                Err(wait)
            }
        }
    }

    pub(super) fn observe(&mut self, seen: Seen) {
        if seen.is_full {
            self.full.observe(seen.took, seen.units);
        }
        let units = u32::try_from(seen.units).ok();
        // A core with all lanes taken is slower; that is not what its best is.
        if let Some(unit) = units.and_then(|units| seen.took.checked_div(units))
            && !(seen.is_full && unit > self.best.unit())
        {
            self.best.observe(unit);
        }
    }

    /// Takes out of the queue what a thread begins now.
    pub(super) fn begin(&mut self, shape: Shape, thread: usize, now: Instant) -> Vec<J> {
        let mut begun = Vec::new();
        while self.may_begin(shape, thread) {
            let Some(pending) = self.waiting.pop() else {
                break;
            };
            let length = times(self.full.unit(), pending.work);
            self.threads[thread].push(now + length);
            begun.push(pending.job);
        }
        begun
    }

    /// Whether a thread has a lane for one more, and none of the others would be
    /// quicker.
    fn may_begin(&self, shape: Shape, thread: usize) -> bool {
        let in_use = self.threads[thread].len();
        let fewest = self.threads.iter().map(Vec::len).min().unwrap_or(0);
        in_use < shape.lanes && (in_use < shape.lanes_for_nothing || in_use <= fewest)
    }

    /// Takes out what will not begin in time after all: the pace has fallen, or
    /// another purpose takes its share, since it was let in. The last ones first,
    /// who have waited least; and whoever has waited too long.
    pub(super) fn give_up(&mut self, shape: Shape, now: Instant) -> Vec<(J, Duration)> {
        let mut given_up = Vec::new();
        if self.waiting.len() == 0 {
            return given_up;
        }
        let openings = self.openings(shape, now);
        while let Some((number, room_in)) = self.hopeless(shape, &openings, now) {
            if let Some(pending) = self.waiting.remove(number) {
                let retry_after = self.refuse(&openings, now, room_in, pending.work);
                given_up.push((pending.job, retry_after));
            }
        }
        let longest_ago = now.checked_sub(shape.tolerated_wait());
        while let Some(pending) =
            longest_ago.and_then(|longest_ago| self.waiting.pop_since_before(longest_ago))
        {
            let retry_after = self.refuse(&openings, now, Duration::ZERO, pending.work);
            given_up.push((pending.job, retry_after));
        }
        given_up
    }

    /// The last one of a purpose that would wait too long, and by how much.
    fn hopeless(
        &self,
        shape: Shape,
        openings: &Openings,
        now: Instant,
    ) -> Option<(Number, Duration)> {
        self.waiting.last_ones().find_map(|(number, last, ahead)| {
            let waited = now.saturating_duration_since(last.since);
            let wait = waited + openings.wait(ahead, self.full.unit());
            let is_hopeless = ahead.jobs > 0 && wait > shape.tolerated_wait();
            is_hopeless.then(|| (number, wait.saturating_sub(shape.max_wait)))
        })
    }

    /// When to come back, where there is room in `room_in`; later by the length of one
    /// computation, since lanes that began together are free together.
    pub(super) fn refuse(
        &mut self,
        openings: &Openings,
        now: Instant,
        room_in: Duration,
        work: u64,
    ) -> Duration {
        let length = times(self.full.unit(), work);
        self.returns
            .give(now, room_in + length, openings.interval(length))
    }
}
