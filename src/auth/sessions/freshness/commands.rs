//! Commands for the follower from other threads.

use std::{
    sync::{Condvar, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use tokio::sync::watch;

/// Concurrent requests are combined: one reading answers all that were made before it
/// began.
#[derive(Default)]
pub(super) struct CommandQueue {
    state: Mutex<Pending>,
    changed: Condvar,
    outcomes: watch::Sender<Outcomes>,
}

#[derive(Default)]
struct Pending {
    /// The number of requests for opened sessions.
    asked: u64,
    /// The number of those that were answered.
    answered: u64,
    is_woken: bool,
    is_stopped: bool,
}

#[derive(Clone, Copy, Default)]
struct Outcomes {
    known: u64,
    failed: u64,
}

/// The work that the follower has to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Command {
    /// Read the log.
    pub(super) log: bool,
    /// Read the opened sessions, for requests up to this number.
    pub(super) opened: Option<u64>,
}

impl CommandQueue {
    /// Requests the opened sessions, and returns whether they could be read.
    pub(super) async fn ask(&self) -> bool {
        let mut outcomes = self.outcomes.subscribe();
        let ticket = {
            let mut state = self.lock();
            state.asked += 1;
            // An earlier request has woken the follower.
            if state.asked == state.answered + 1 {
                self.changed.notify_one();
            }
            state.asked
        };
        let is_answered = |outcomes: &Outcomes| outcomes.known.max(outcomes.failed) >= ticket;
        match outcomes.wait_for(is_answered).await {
            Ok(outcomes) => outcomes.known >= ticket,
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

    /// The next command; an empty one when the time is over. `Err` when the follower has to
    /// stop.
    pub(super) fn wait(&self, until: Instant) -> Result<Command, Stopped> {
        let mut state = self.lock();
        loop {
            if state.is_stopped {
                return Err(Stopped);
            }
            let command = Command {
                log: std::mem::take(&mut state.is_woken),
                opened: (state.asked > state.answered).then_some(state.asked),
            };
            let patience = until.saturating_duration_since(Instant::now());
            if command.log || command.opened.is_some() || patience.is_zero() {
                return Ok(command);
            }
            state = self
                .changed
                .wait_timeout(state, patience)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
    }

    /// Waits without accepting commands, unless the follower has to stop.
    pub(super) fn rest(&self, duration: Duration) {
        let state = self.lock();
        let _ = self
            .changed
            .wait_timeout_while(state, duration, |state| !state.is_stopped);
    }

    /// Answers the requests up to a number.
    pub(super) fn answer(&self, up_to: u64, is_known: bool) {
        let mut state = self.lock();
        state.answered = state.answered.max(up_to);
        drop(state);
        self.outcomes.send_modify(|outcomes| {
            if is_known {
                outcomes.known = outcomes.known.max(up_to);
            } else {
                outcomes.failed = outcomes.failed.max(up_to);
            }
        });
    }

    /// Answers all requests so far with a failure.
    pub(super) fn fail(&self) {
        let asked = self.lock().asked;
        self.answer(asked, false);
    }

    fn lock(&self) -> MutexGuard<'_, Pending> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The follower has to stop.
#[derive(Debug)]
pub(super) struct Stopped;
