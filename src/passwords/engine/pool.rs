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
    job::{Job, Pending},
    state::{Seen, Shape, State},
    waiting::Number,
};
/// Threads and a queue.
pub(super) struct Pool<J> {
    shape: Shape,
    state: Mutex<State<J>>,
    /// For threads that have nothing to do.
    job_waits: Condvar,
}

/// Keeps a computation in the queue; takes it out when its caller leaves.
pub(super) struct Place<'a, J: Job> {
    pool: &'a Pool<J>,
    number: Number,
}

impl<J: Job> Pool<J> {
    /// With guesses at the time of a unit of work, in one lane alone and in all.
    pub(super) fn new(shape: Shape, alone: Duration, full: Duration) -> Self {
        Self {
            shape,
            state: Mutex::new(State::new(shape, alone, full)),
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
        if let Err(refusal) = state.admit(self.shape, &openings, work, demand, since) {
            let retry_after = state.refuse(&openings, since, refusal, work, demand.purpose);
            return Err(EngineError::Overloaded { retry_after });
        }
        let pending = Pending { job, work, since };
        let number = state.waiting.push(demand.purpose, pending);
        let given_up = state.give_up(self.shape, since);
        self.wake(&mut state);
        drop(state);
        refuse_all(given_up);
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
            let given_up = state.give_up(self.shape, now);
            let begun = state.begin(self.shape, thread, now);
            if !given_up.is_empty() || !begun.is_empty() || !state.threads[thread].is_empty() {
                self.wake(&mut state);
                drop(state);
                refuse_all(given_up);
                return Some(begun);
            }
            state.asleep += 1;
            state = self
                .job_waits
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
            state.asleep -= 1;
            state.woken = state.woken.saturating_sub(1);
        }
    }

    /// Sends the threads home. What they have begun comes to nothing.
    pub(super) fn close(&self) {
        self.lock().is_closed = true;
        self.job_waits.notify_all();
    }

    /// Wakes a thread if those that are awake, or about to be, will not take all that
    /// waits.
    fn wake(&self, state: &mut State<J>) {
        let for_nothing = self.shape.lanes_for_nothing;
        let awake = state.threads.iter().filter(|in_use| !in_use.is_empty());
        let free: usize = awake
            .map(|in_use| for_nothing.saturating_sub(in_use.len()))
            .sum();
        let free = free + state.woken * for_nothing;
        if state.asleep > state.woken && state.waiting.len() > free {
            state.woken += 1;
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
        let state = self.lock();
        state.asleep - state.woken
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
