//! How many of the lines that cost their sender nothing are written: whoever makes up
//! `session_id`s all day is not to fill a disk.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use tokio::runtime::Handle;

const LINES: u32 = 100;
const PERIOD: Duration = Duration::from_secs(1);

/// A number of lines per second. What is beyond it is counted, and said in one line.
#[derive(Default)]
pub(super) struct LogQuota(Mutex<State>);

#[derive(Default)]
struct State {
    start: Option<Instant>,
    lines: u32,
    unwritten: u64,
}

impl LogQuota {
    /// Whether there is to be a line.
    pub(super) fn take(self: &Arc<Self>) -> bool {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if state.start.is_none_or(|start| start.elapsed() >= PERIOD) {
            (state.start, state.lines) = (Some(Instant::now()), 0);
        }
        if state.lines < LINES {
            state.lines += 1;
            return true;
        }
        state.unwritten += 1;
        let is_first = state.unwritten == 1;
        drop(state);
        if is_first && let Ok(runtime) = Handle::try_current() {
            let quota = Arc::downgrade(self);
            runtime.spawn(async move {
                tokio::time::sleep(PERIOD).await;
                if let Some(quota) = quota.upgrade() {
                    quota.tell();
                }
            });
        }
        false
    }

    /// Says how many lines were not written.
    fn tell(&self) {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let requests = std::mem::take(&mut state.unwritten);
        drop(state);
        if requests > 0 {
            tracing::warn!(
                requests,
                "refused without a line of their own: too many in a second"
            );
        }
    }
}

impl Drop for LogQuota {
    fn drop(&mut self) {
        self.tell();
    }
}
