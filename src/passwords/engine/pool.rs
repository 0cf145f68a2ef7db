//! Threads of one kind, and the queue before them.
//!
//! Each thread has as many lanes, comes by between two slices of its work to say
//! what goes on in them, and takes what may begin.
//!
//! The threads may lose their core at any moment, also while they hold the lock, and may
//! not get it back for a long time. So callers, who share their threads with every other
//! request, never wait for the lock on one: they try it, and see to other requests
//! while they cannot have it.

use std::{
    hint,
    sync::{
        Condvar, Mutex, MutexGuard, PoisonError, TryLockError,
        atomic::{AtomicU64, AtomicUsize, Ordering},
        mpsc::{self, Receiver, Sender},
    },
    time::{Duration, Instant},
};

use tokio::time;

use super::{
    Demand, EngineError,
    forecast::MAX_RETRY_AFTER,
    job::{Job, Pending},
    state::{Seen, Shape, State},
    waiting::Number,
};
use crate::passwords::Purpose;

/// How often a caller tries the lock before it sees to something else: for some
/// microseconds, since the lock is held for that long.
const TRIES: usize = 50;

/// How long it does so.
const RETRY_LOCK: Duration = Duration::from_millis(1);

/// How often the queue is looked through for what will not begin in time.
const LOOK_THROUGH_EVERY: Duration = Duration::from_millis(1);

/// Threads and a queue.
pub(super) struct Pool<J> {
    shape: Shape,
    inner: Mutex<Inner<J>>,
    /// For threads that have nothing to do.
    job_waits: Condvar,
    /// What is to be taken out of the queue, when the lock could not be had.
    left: Sender<Number>,
    /// How many wait in the queue.
    waiting: AtomicUsize,
    /// In how many nanoseconds one more of each purpose would begin, if it were its
    /// source's only one.
    outlook: [AtomicU64; Purpose::ALL.len()],
}

/// What the lock guards.
struct Inner<J> {
    state: State<J>,
    left: Receiver<Number>,
    looked_through: Instant,
}

/// Keeps a computation in the queue; takes it out when its caller leaves.
pub(super) struct Place<'a, J: Job> {
    pool: &'a Pool<J>,
    number: Number,
}

impl<J: Job> Pool<J> {
    /// With guesses at the time of a unit of work, in one lane alone and in all.
    pub(super) fn new(shape: Shape, alone: Duration, full: Duration) -> Self {
        let (left, leaving) = mpsc::channel();
        Self {
            shape,
            inner: Mutex::new(Inner {
                state: State::new(shape, alone, full),
                left: leaving,
                looked_through: Instant::now(),
            }),
            job_waits: Condvar::new(),
            left,
            waiting: AtomicUsize::new(0),
            outlook: Default::default(),
        }
    }

    /// Whether one more would be let in, whose own work is not known yet; where it would
    /// not, it is told when to come back as if it were so much.
    pub(super) fn look(&self, work: u64, demand: Demand) -> Result<(), EngineError> {
        let now = Instant::now();
        let Some(mut inner) = self.try_lock() else {
            return self.look_from_afar(demand, now);
        };
        let state = &mut inner.state;
        let mut openings = state.openings(self.shape, now);
        state
            .admit(self.shape, &mut openings, 0, demand, now)
            .map_err(|refusal| EngineError::Overloaded {
                retry_after: state.refuse(&openings, now, refusal, work, demand.purpose),
            })
    }

    /// The same by what was known when the lock was held last.
    fn look_from_afar(&self, demand: Demand, now: Instant) -> Result<(), EngineError> {
        let outlook = self.outlook[demand.purpose as usize].load(Ordering::Relaxed);
        let longest = demand.deadline.remaining(now).min(self.shape.safe_wait());
        match Duration::from_nanos(outlook).checked_sub(longest) {
            Some(room_in) if !room_in.is_zero() => Err(EngineError::Overloaded {
                retry_after: room_in.min(MAX_RETRY_AFTER),
            }),
            _ => Ok(()),
        }
    }

    /// Puts a computation into the queue, or refuses it: where it could not begin
    /// soon enough, or end before its caller's deadline.
    pub(super) async fn enter(
        &self,
        job: J,
        work: u64,
        demand: Demand,
    ) -> Result<Place<'_, J>, EngineError> {
        loop {
            if let Some(inner) = self.try_lock() {
                return self.enter_locked(inner, job, work, demand);
            }
            self.look_from_afar(demand, Instant::now())?;
            time::sleep(RETRY_LOCK).await;
        }
    }

    fn enter_locked(
        &self,
        mut inner: MutexGuard<'_, Inner<J>>,
        job: J,
        work: u64,
        demand: Demand,
    ) -> Result<Place<'_, J>, EngineError> {
        let since = Instant::now();
        let state = &mut inner.state;
        if demand.only_if_idle && !state.is_idle(self.shape) {
            let retry_after = Duration::ZERO;
            return Err(EngineError::Overloaded { retry_after });
        }
        let mut openings = state.openings(self.shape, since);
        if let Err(refusal) = state.admit(self.shape, &mut openings, work, demand, since) {
            let retry_after = state.refuse(&openings, since, refusal, work, demand.purpose);
            return Err(EngineError::Overloaded { retry_after });
        }
        let pending = Pending { job, work, since };
        let source = demand.deadline.source();
        let number = state.waiting.push(demand.purpose, source, pending);
        let given_up = state.give_up(self.shape, since);
        inner.looked_through = since;
        self.wake(&mut inner.state);
        self.tell(&mut inner.state, since);
        drop(inner);
        refuse_all(given_up);
        Ok(Place { pool: self, number })
    }

    /// For a thread: notes when its lanes in use are free, and returns what begins
    /// in others. While there is nothing to do it waits, so long at most, and returns
    /// nothing then. `None` when the pool is closed.
    pub(super) fn come_by(
        &self,
        thread: usize,
        in_use: Vec<Instant>,
        seen: Option<Seen>,
        linger: Option<Duration>,
    ) -> Option<Vec<J>> {
        let mut inner = self.lock();
        inner.state.threads[thread] = in_use;
        if let Some(seen) = seen {
            inner.state.observe(seen);
        }
        let until = linger.map(|linger| Instant::now() + linger);
        loop {
            if inner.state.is_closed {
                return None;
            }
            let now = Instant::now();
            if now.duration_since(inner.looked_through) >= LOOK_THROUGH_EVERY {
                inner.looked_through = now;
                let given_up = inner.state.give_up(self.shape, now);
                if !given_up.is_empty() {
                    drop(inner);
                    refuse_all(given_up);
                    inner = self.lock();
                    continue;
                }
            }
            let begun = inner.state.begin(self.shape, thread, now);
            let has_work = !inner.state.threads[thread].is_empty();
            self.tell(&mut inner.state, now);
            if has_work || until.is_some_and(|until| until <= now) {
                self.wake(&mut inner.state);
                return Some(begun);
            }
            inner = self.sleep(inner, until.map(|until| until - now));
        }
    }

    /// Whether a thread with so many lanes in use should come by, since one waits that
    /// may begin there.
    pub(super) fn has_job_for(&self, in_use: usize) -> bool {
        in_use < self.shape.lanes && self.waiting.load(Ordering::Relaxed) > 0
    }

    /// Sends the threads home. What they have begun comes to nothing.
    pub(super) fn close(&self) {
        self.lock().state.is_closed = true;
        self.job_waits.notify_all();
    }

    /// Waits until a job waits, so long at most.
    fn sleep<'a>(
        &self,
        mut inner: MutexGuard<'a, Inner<J>>,
        at_most: Option<Duration>,
    ) -> MutexGuard<'a, Inner<J>> {
        inner.state.asleep += 1;
        let is_woken;
        (inner, is_woken) = match at_most {
            None => {
                let woken = self.job_waits.wait(inner);
                (woken.unwrap_or_else(PoisonError::into_inner), true)
            }
            Some(at_most) => {
                let woken = self.job_waits.wait_timeout(inner, at_most);
                let (inner, waited) = woken.unwrap_or_else(PoisonError::into_inner);
                (inner, !waited.timed_out())
            }
        };
        let state = &mut inner.state;
        state.asleep -= 1;
        state.woken = state.woken.saturating_sub(usize::from(is_woken));
        // One that was woken as its time was up has not said so.
        state.woken = state.woken.min(state.asleep);
        inner
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

    /// Notes what those go by who do not have the lock.
    fn tell(&self, state: &mut State<J>, now: Instant) {
        self.waiting.store(state.waiting.len(), Ordering::Relaxed);
        let mut openings = state.openings(self.shape, now);
        for (purpose, outlook) in Purpose::ALL.into_iter().zip(&self.outlook) {
            let wait = state.wait_of_a_newcomer(&mut openings, purpose);
            let nanos = u64::try_from(wait.as_nanos()).unwrap_or(u64::MAX);
            outlook.store(nanos, Ordering::Relaxed);
        }
    }

    /// For threads that may wait for the lock.
    fn lock(&self) -> MutexGuard<'_, Inner<J>> {
        // Nothing that is done under the lock can leave it half done.
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        inner.take_out_those_that_left();
        inner
    }

    /// For threads that may not, or only for some microseconds.
    fn try_lock(&self) -> Option<MutexGuard<'_, Inner<J>>> {
        for _ in 0..TRIES {
            let mut inner = match self.inner.try_lock() {
                Ok(inner) => inner,
                Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
                Err(TryLockError::WouldBlock) => {
                    hint::spin_loop();
                    continue;
                }
            };
            inner.take_out_those_that_left();
            return Some(inner);
        }
        None
    }
}

impl<J> Inner<J> {
    fn take_out_those_that_left(&mut self) {
        while let Ok(number) = self.left.try_recv() {
            drop(self.state.waiting.remove(number));
        }
    }
}

#[cfg(test)]
impl<J: Job> Pool<J> {
    /// How many have begun and not ended, and how many wait.
    pub(super) fn load(&self) -> (usize, usize) {
        let state = &self.lock().state;
        let in_use = state.threads.iter().map(Vec::len).sum();
        (in_use, state.waiting.len())
    }

    pub(super) fn load_by_thread(&self) -> Vec<usize> {
        self.lock().state.threads.iter().map(Vec::len).collect()
    }

    /// Holds the lock until what is returned is dropped, as a thread does that has lost
    /// its core.
    pub(super) fn hold(&self) -> impl Drop + '_ {
        self.lock()
    }

    pub(super) fn asleep(&self) -> usize {
        let state = &self.lock().state;
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
        match self.pool.try_lock() {
            Some(mut inner) => {
                let removed = inner.state.waiting.remove(self.number);
                drop(inner);
                drop(removed);
            }
            // Whoever has the lock next takes it out.
            None => drop(self.pool.left.send(self.number)),
        }
    }
}
