//! What the follower is asked for, from wherever.

use std::{
    sync::{Condvar, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use tokio::sync::watch;

/// Several ask at once, and one reading answers all who asked before it began.
#[derive(Default)]
pub(super) struct Requests {
    state: Mutex<State>,
    changed: Condvar,
    answers: watch::Sender<Answers>,
}

#[derive(Default)]
struct State {
    /// How often it was asked what is opened.
    asked: u64,
    /// How many of those were answered.
    answered: u64,
    is_woken: bool,
    is_stopped: bool,
}

#[derive(Clone, Copy, Default)]
struct Answers {
    known: u64,
    failed: u64,
}

/// What the follower is to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Wish {
    /// To read the log.
    pub(super) log: bool,
    /// To find out what was opened, for those who asked up to this number.
    pub(super) opened: Option<u64>,
}

impl Requests {
    /// Whether what is opened is known, once it is found out.
    pub(super) async fn ask(&self) -> bool {
        let mut answers = self.answers.subscribe();
        let ticket = {
            let mut state = self.lock();
            state.asked += 1;
            // Whoever was there first has woken it.
            if state.asked == state.answered + 1 {
                self.changed.notify_one();
            }
            state.asked
        };
        let is_answered = |answers: &Answers| answers.known.max(answers.failed) >= ticket;
        match answers.wait_for(is_answered).await {
            Ok(answers) => answers.known >= ticket,
            Err(_) => false,
        }
    }

    pub(super) fn wake(&self) {
        self.lock().is_woken = true;
        self.changed.notify_one();
    }

    pub(super) fn stop(&self) {
        self.lock().is_stopped = true;
        self.changed.notify_one();
    }

    /// The next wish, or none if there is none in time; `Err` when it is to stop.
    pub(super) fn wait(&self, until: Instant) -> Result<Wish, Stopped> {
        let mut state = self.lock();
        loop {
            if state.is_stopped {
                return Err(Stopped);
            }
            let wish = Wish {
                log: std::mem::take(&mut state.is_woken),
                opened: (state.asked > state.answered).then_some(state.asked),
            };
            let patience = until.saturating_duration_since(Instant::now());
            if wish.log || wish.opened.is_some() || patience.is_zero() {
                return Ok(wish);
            }
            state = self
                .changed
                .wait_timeout(state, patience)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
    }

    /// Waits without an ear for wishes, but for the one to stop.
    pub(super) fn rest(&self, duration: Duration) {
        let state = self.lock();
        let _ = self
            .changed
            .wait_timeout_while(state, duration, |state| !state.is_stopped);
    }

    /// Tells those who asked up to a number.
    pub(super) fn answer(&self, up_to: u64, is_known: bool) {
        let mut state = self.lock();
        state.answered = state.answered.max(up_to);
        drop(state);
        self.answers.send_modify(|answers| {
            if is_known {
                answers.known = answers.known.max(up_to);
            } else {
                answers.failed = answers.failed.max(up_to);
            }
        });
    }

    /// Tells all who have asked that it cannot be found out.
    pub(super) fn fail(&self) {
        let asked = self.lock().asked;
        self.answer(asked, false);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// It is to stop.
#[derive(Debug)]
pub(super) struct Stopped;
