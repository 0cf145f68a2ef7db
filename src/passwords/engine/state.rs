//! What a pool knows of its threads and its queue, and what follows from that: who is
//! let in, who begins, and who is refused.

use std::time::{Duration, Instant};

use super::{
    Demand,
    forecast::{Openings, Returns, times},
    gauge::Gauge,
    waiting::{Number, Waiting},
};
use crate::passwords::Purpose;

/// What a pool is made of.
#[derive(Clone, Copy, Debug)]
pub(super) struct Shape {
    pub(super) threads: usize,
    /// How many computations one thread takes at once.
    pub(super) lanes: usize,
    /// How many of those cost the others nothing. Up to here a thread that is awake
    /// takes what comes; beyond, it is shared evenly.
    pub(super) lanes_for_nothing: usize,
    /// The longest that one may wait to begin, at the pace at which it is let in.
    pub(super) max_wait: Duration,
}

impl Shape {
    /// The longest forecast with which one is let in: the pace may fall.
    pub(super) fn safe_wait(&self) -> Duration {
        self.max_wait - self.max_wait / 4
    }

    /// The longest wait of one that was let in. A caller that has waited is better served
    /// late than refused late, so only a pace of less than two fifths of the forecast's
    /// makes a refusal of it; its own deadline holds in any case.
    fn tolerated_wait(&self) -> Duration {
        self.max_wait * 2
    }
}

/// What a thread did since it came by last.
#[derive(Clone, Copy, Debug)]
pub(super) struct Seen {
    pub(super) took: Duration,
    pub(super) units: u64,
    /// In how many of its lanes.
    pub(super) lanes: usize,
}

/// Why one is not let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// There is room for it in so long.
    Later(Duration),
    /// It takes longer than its caller waits; others are done in so long.
    Never(Duration),
}

/// All of it changes under the pool's lock.
pub(super) struct State<J> {
    pub(super) waiting: Waiting<J>,
    /// For each thread, when each of its lanes in use is free.
    pub(super) threads: Vec<Vec<Instant>>,
    pub(super) asleep: usize,
    /// Of those, how many have been woken and have not come by yet.
    pub(super) woken: usize,
    /// The time of a unit of work, for each number of a thread's lanes in use.
    paces: Vec<Gauge>,
    /// For each purpose.
    returns: [Returns; Purpose::ALL.len()],
    pub(super) is_closed: bool,
}

impl<J> State<J> {
    /// With guesses at the time of a unit of work, in one lane alone and in all.
    pub(super) fn new(shape: Shape, alone: Duration, full: Duration) -> Self {
        let slower = full.saturating_sub(alone) / shape.lanes as u32;
        let guess = |lanes: usize| Gauge::new(alone + slower * lanes as u32);
        Self {
            waiting: Waiting::new(),
            threads: vec![Vec::new(); shape.threads],
            asleep: 0,
            woken: 0,
            paces: (0..=shape.lanes).map(guess).collect(),
            returns: Default::default(),
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
        openings: &mut Openings,
        work: u64,
        demand: Demand,
        now: Instant,
    ) -> Result<(), Refusal> {
        let source = demand.deadline.source();
        let ahead = self.waiting.ahead_of_another(demand.purpose, Some(source));
        let wait = openings.wait(ahead, self.full());
        let lanes = if wait.is_zero() {
            self.fewest() + 1
        } else {
            shape.lanes
        };
        let pace = &mut self.paces[lanes.min(shape.lanes)];
        let patience = demand.deadline.remaining(now);
        let Some(spare) = patience.checked_sub(times(pace.unit(), work)) else {
            if wait.is_zero() {
                pace.doubt();
            }
            return Err(Refusal::Never(wait));
        };
        let longest = spare.min(shape.safe_wait());
        match wait.checked_sub(longest) {
            Some(room_in) if !room_in.is_zero() => Err(Refusal::Later(room_in)),
            _ => Ok(()),
        }
    }

    /// How long one more would wait, of a source that has none in the queue.
    pub(super) fn wait_of_a_newcomer(&self, openings: &mut Openings, purpose: Purpose) -> Duration {
        openings.wait(self.waiting.ahead_of_another(purpose, None), self.full())
    }

    pub(super) fn observe(&mut self, seen: Seen) {
        self.paces[seen.lanes].observe(seen.took, seen.units);
    }

    /// The time of a unit of work while every lane is taken.
    fn full(&self) -> Duration {
        self.paces.last().map_or(Duration::ZERO, Gauge::unit)
    }

    /// How many lanes the thread with the fewest has in use.
    fn fewest(&self) -> usize {
        self.threads.iter().map(Vec::len).min().unwrap_or(0)
    }

    /// Takes out of the queue what a thread begins now.
    pub(super) fn begin(&mut self, shape: Shape, thread: usize, now: Instant) -> Vec<J> {
        let mut begun = Vec::new();
        while self.may_begin(shape, thread) {
            let Some(pending) = self.waiting.pop() else {
                break;
            };
            let length = times(self.full(), pending.work);
            self.threads[thread].push(now + length);
            begun.push(pending.job);
        }
        begun
    }

    /// Whether a thread has a lane for one more, and none of the others would be
    /// quicker.
    fn may_begin(&self, shape: Shape, thread: usize) -> bool {
        let in_use = self.threads[thread].len();
        in_use < shape.lanes && (in_use < shape.lanes_for_nothing || in_use <= self.fewest())
    }

    /// Takes out what will not begin in time after all: the pace has fallen, or
    /// another purpose takes its share, since it was let in. The last ones first,
    /// who have waited least; and whoever has waited too long.
    pub(super) fn give_up(&mut self, shape: Shape, now: Instant) -> Vec<(J, Duration)> {
        let mut given_up = Vec::new();
        if self.waiting.len() == 0 {
            return given_up;
        }
        let mut openings = self.openings(shape, now);
        while let Some((number, room_in)) = self.hopeless(shape, &mut openings, now) {
            if let Some(pending) = self.waiting.remove(number) {
                let retry_after =
                    self.come_back(&openings, now, room_in, pending.work, number.purpose());
                given_up.push((pending.job, retry_after));
            }
        }
        let longest_ago = now.checked_sub(shape.tolerated_wait());
        while let Some((purpose, pending)) =
            longest_ago.and_then(|longest_ago| self.waiting.pop_since_before(longest_ago))
        {
            let ahead = self.waiting.ahead_of_another(purpose, None);
            let wait = openings.wait(ahead, self.full());
            let room_in = wait.saturating_sub(shape.safe_wait());
            let retry_after = self.come_back(&openings, now, room_in, pending.work, purpose);
            given_up.push((pending.job, retry_after));
        }
        given_up
    }

    /// The last one of a purpose that would wait too long, and by how much.
    fn hopeless(
        &self,
        shape: Shape,
        openings: &mut Openings,
        now: Instant,
    ) -> Option<(Number, Duration)> {
        self.waiting.last_ones().find_map(|(number, last, ahead)| {
            let waited = now.saturating_duration_since(last.since);
            let wait = waited + openings.wait(ahead, self.full());
            let is_hopeless = ahead.jobs > 0 && wait > shape.tolerated_wait();
            is_hopeless.then(|| (number, wait.saturating_sub(shape.safe_wait())))
        })
    }

    /// When a refused one is to come back.
    pub(super) fn refuse(
        &mut self,
        openings: &Openings,
        now: Instant,
        refusal: Refusal,
        work: u64,
        purpose: Purpose,
    ) -> Duration {
        match refusal {
            Refusal::Later(room_in) => self.come_back(openings, now, room_in, work, purpose),
            // Nobody else has to wait for it, since it will not come in.
            Refusal::Never(wait) => wait + times(self.full(), work),
        }
    }

    /// When to come back, where there is room in `room_in`; later by the length of one
    /// computation, since lanes that began together are free together.
    fn come_back(
        &mut self,
        openings: &Openings,
        now: Instant,
        room_in: Duration,
        work: u64,
        purpose: Purpose,
    ) -> Duration {
        let length = times(self.full(), work);
        let interval = openings.interval(length);
        self.returns[purpose as usize].give(now, room_in + length, interval)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{deadline::Deadline, passwords::engine::job::Pending};

    const MS: Duration = Duration::from_millis(1);

    const SHAPE: Shape = Shape {
        threads: 1,
        lanes: 1,
        lanes_for_nothing: 1,
        max_wait: Duration::from_secs(2),
    };

    fn set_pace(state: &mut State<()>, unit: Duration) {
        for _ in 0..1_000 {
            let seen = Seen {
                took: MS * 20,
                units: MS.as_nanos() as u64 * 20 / unit.as_nanos() as u64,
                lanes: 1,
            };
            state.observe(seen);
        }
    }

    /// As many as are let in at one moment, of a hundred units each.
    fn filled(unit: Duration) -> (State<()>, Instant) {
        let now = Instant::now();
        let demand = Demand {
            purpose: Purpose::Login,
            deadline: Deadline::after(Duration::from_secs(60)),
            only_if_idle: false,
        };
        let mut state = State::new(SHAPE, unit, unit);
        set_pace(&mut state, unit);
        loop {
            let mut openings = state.openings(SHAPE, now);
            if state.admit(SHAPE, &mut openings, 100, demand, now).is_err() {
                return (state, now);
            }
            let pending = Pending {
                job: (),
                work: 100,
                since: now,
            };
            let source = demand.deadline.source();
            state.waiting.push(demand.purpose, source, pending);
            if state.threads[0].is_empty() {
                assert_eq!(state.begin(SHAPE, 0, now).len(), 1);
            }
        }
    }

    #[test]
    fn one_that_was_let_in_is_served_at_half_the_pace() {
        let unit = Duration::from_micros(200);
        let (mut state, now) = filled(unit);
        let waiting = state.waiting.len();
        assert!(waiting > 50, "{waiting}");
        set_pace(&mut state, unit * 2);
        assert!(state.give_up(SHAPE, now).is_empty());
        set_pace(&mut state, unit * 5);
        let given_up = state.give_up(SHAPE, now).len();
        assert!(
            given_up > 0 && given_up < waiting,
            "{given_up} of {waiting}"
        );
    }
}
