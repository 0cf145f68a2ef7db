//! Threads of one kind, and the queue before them.
//!
//! Each thread has as many lanes, comes by between two slices of its work to say
//! what goes on in them, and takes what may begin.

use std::{
    sync::{Condvar, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use super::{
    Demand, EngineError,
    forecast::{Openings, Pace, Returns, times},
    job::{Job, Pending},
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

/// Threads and a queue.
pub(super) struct Pool<J> {
    shape: Shape,
    state: Mutex<State<J>>,
    /// For threads that have nothing to do.
    job_waits: Condvar,
}

struct State<J> {
    waiting: Waiting<J>,
    /// For each thread, when each of its lanes in use is free.
    threads: Vec<Vec<Instant>>,
    asleep: usize,
    pace: Pace,
    returns: Returns,
    is_closed: bool,
}

/// What a thread saw since it came by last: how long one unit of work took.
#[derive(Clone, Copy, Debug)]
pub(super) struct Seen {
    pub(super) unit: Duration,
    /// Whether all of its lanes were taken.
    pub(super) is_full: bool,
}

/// Keeps a computation in the queue; takes it out when its caller leaves.
pub(super) struct Place<'a, J: Job> {
    pool: &'a Pool<J>,
    number: Number,
}

impl<J: Job> Pool<J> {
    pub(super) fn new(shape: Shape, pace: Pace) -> Self {
        Self {
            shape,
            state: Mutex::new(State {
                waiting: Waiting::new(),
                threads: vec![Vec::new(); shape.threads],
                asleep: 0,
                pace,
                returns: Returns::default(),
                is_closed: false,
            }),
            job_waits: Condvar::new(),
        }
    }

    /// Puts a computation into the queue, or refuses it: where it could not begin
    /// soon enough, or end before its caller's deadline.
    pub(super) fn enter(
        &self,
        job: J,
        work: u64,
        demand: Demand,
    ) -> Result<Place<'_, J>, EngineError> {
        let since = Instant::now();
        let mut state = self.lock();
        if demand.only_if_idle && !state.is_idle(self.shape) {
            let retry_after = Duration::ZERO;
            return Err(EngineError::Overloaded { retry_after });
        }
        let openings = state.openings(self.shape, since);
        if let Err(room_in) = state.admit(self.shape, &openings, work, demand, since) {
            let retry_after = state.refuse(&openings, since, room_in, work);
            return Err(EngineError::Overloaded { retry_after });
        }
        let pending = Pending { job, work, since };
        let number = state.waiting.push(demand.purpose, pending);
        let crowded_out = state.crowd_out(&openings, self.shape, since);
        self.wake(&state);
        drop(state);
        refuse_all(crowded_out);
        Ok(Place { pool: self, number })
    }

    /// For a thread: notes when its lanes in use are free, and returns what begins
    /// in others. Waits while there is nothing to do. `None` when the pool is closed.
    pub(super) fn come_by(
        &self,
        thread: usize,
        in_use: Vec<Instant>,
        seen: Option<Seen>,
    ) -> Option<Vec<J>> {
        let mut state = self.lock();
        state.threads[thread] = in_use;
        if let Some(seen) = seen {
            state.observe(seen);
        }
        loop {
            if state.is_closed {
                return None;
            }
            let now = Instant::now();
            let late = state.late(self.shape, now);
            let begun = state.begin(self.shape, thread, now);
            if !late.is_empty() || !begun.is_empty() || !state.threads[thread].is_empty() {
                self.wake(&state);
                drop(state);
                refuse_all(late);
                return Some(begun);
            }
            state.asleep += 1;
            state = self
                .job_waits
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
            state.asleep -= 1;
        }
    }

    /// Sends the threads home. What they have begun comes to nothing.
    pub(super) fn close(&self) {
        self.lock().is_closed = true;
        self.job_waits.notify_all();
    }

    /// Wakes a thread if those that are awake will not take all that waits.
    fn wake(&self, state: &State<J>) {
        let awake = state.threads.iter().filter(|in_use| !in_use.is_empty());
        let free: usize = awake
            .map(|in_use| self.shape.lanes_for_nothing.saturating_sub(in_use.len()))
            .sum();
        if state.asleep > 0 && state.waiting.len() > free {
            self.job_waits.notify_one();
        }
    }

    fn lock(&self) -> MutexGuard<'_, State<J>> {
        // Nothing that is done under the lock can leave it half done.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
impl<J: Job> Pool<J> {
    /// How many have begun and not ended, and how many wait.
    pub(super) fn load(&self) -> (usize, usize) {
        let state = self.lock();
        let in_use = state.threads.iter().map(Vec::len).sum();
        (in_use, state.waiting.len())
    }

    pub(super) fn load_by_thread(&self) -> Vec<usize> {
        self.lock().threads.iter().map(Vec::len).collect()
    }

    pub(super) fn asleep(&self) -> usize {
        self.lock().asleep
    }
}

impl<J> State<J> {
    fn openings(&self, shape: Shape, now: Instant) -> Openings {
        let in_use = self.threads.iter().flatten().copied();
        Openings::new(in_use, shape.threads * shape.lanes, now)
    }

    /// Whether one more begins at once and costs the others nothing.
    fn is_idle(&self, shape: Shape) -> bool {
        let in_use: usize = self.threads.iter().map(Vec::len).sum();
        self.waiting.len() + in_use < shape.threads * shape.lanes_for_nothing
    }

    /// Whether there is room for one more; if not, when there will be.
    fn admit(
        &self,
        shape: Shape,
        openings: &Openings,
        work: u64,
        demand: Demand,
        now: Instant,
    ) -> Result<(), Duration> {
        let ahead = self.waiting.ahead_of_another(demand.purpose);
        let wait = openings.wait(ahead, self.pace);
        let unit = if wait.is_zero() {
            self.pace.best
        } else {
            self.pace.full
        };
        let patience = demand.deadline.remaining(now);
        match patience.checked_sub(times(unit, work)) {
            Some(longest) if wait <= longest.min(shape.max_wait) => Ok(()),
            Some(longest) => Err(wait - longest.min(shape.max_wait)),
            None => Err(wait),
        }
    }

    fn observe(&mut self, seen: Seen) {
        self.pace.observe(seen.unit);
        if seen.is_full {
            self.pace.observe_full(seen.unit);
        }
    }

    /// Takes out of the queue what a thread begins now.
    fn begin(&mut self, shape: Shape, thread: usize, now: Instant) -> Vec<J> {
        let mut begun = Vec::new();
        while self.may_begin(shape, thread) {
            let Some(pending) = self.waiting.pop() else {
                break;
            };
            let length = times(self.pace.full, pending.work);
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

    /// Takes out what has waited too long: more work has come before it, or the
    /// pace has fallen, since it was let in.
    fn late(&mut self, shape: Shape, now: Instant) -> Vec<(J, Duration)> {
        let mut late = Vec::new();
        let Some(before) = now.checked_sub(shape.tolerated_wait()) else {
            return late;
        };
        while let Some(pending) = self.waiting.pop_since_before(before) {
            let openings = self.openings(shape, now);
            let retry_after = self.refuse(&openings, now, Duration::ZERO, pending.work);
            late.push((pending.job, retry_after));
        }
        late
    }

    /// Takes out the last of a purpose for as long as it would wait too long, now
    /// that another purpose takes its share.
    fn crowd_out(&mut self, openings: &Openings, shape: Shape, now: Instant) -> Vec<(J, Duration)> {
        let mut crowded_out = Vec::new();
        loop {
            let too_late = self.waiting.last_ones().find_map(|(number, last, ahead)| {
                let waited = now.saturating_duration_since(last.since);
                let wait = waited + openings.wait(ahead, self.pace);
                let is_too_late = wait > shape.tolerated_wait() && ahead.jobs > 0;
                is_too_late.then(|| (number, wait.saturating_sub(shape.max_wait)))
            });
            let Some((number, room_in)) = too_late else {
                return crowded_out;
            };
            if let Some(pending) = self.waiting.remove(number) {
                let retry_after = self.refuse(openings, now, room_in, pending.work);
                crowded_out.push((pending.job, retry_after));
            }
        }
    }

    fn refuse(
        &mut self,
        openings: &Openings,
        now: Instant,
        room_in: Duration,
        work: u64,
    ) -> Duration {
        let length = times(self.pace.full, work);
        self.returns
            .give(now, room_in + length, openings.interval(length))
    }
}

/// Outside the lock: it wakes their callers.
fn refuse_all<J: Job>(refused: Vec<(J, Duration)>) {
    for (job, retry_after) in refused {
        job.refuse(retry_after);
    }
}

impl<J: Job> Drop for Place<'_, J> {
    fn drop(&mut self) {
        let removed = self.pool.lock().waiting.remove(self.number);
        drop(removed);
    }
}
