//! The threads that compute at one go what has no lanes.
//!
//! As with bcrypt, there are two for each core, of which one works: the second one while
//! the first is starved, from one computation to the next.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    time::{Duration, Instant},
};

use super::{
    handover::Handover,
    job::{Job as _, WholeJob},
    pool::Pool,
    priority,
    pulse::{Pulse, Share},
    state::Seen,
};

/// How long the second thread waits for work before it hands it back: calls that follow
/// one another must not meet a starved thread each time.
const LINGER: Duration = Duration::from_secs(1);

/// The right to work as one of the pool's threads.
pub(super) struct Shift {
    /// Which of them.
    thread: usize,
    pulse: Pulse,
    /// What the pool has not been told yet.
    seen: Option<Seen>,
}

impl Shift {
    pub(super) fn new(thread: usize, share: u8) -> Self {
        Self {
            thread,
            pulse: Pulse::new(share),
            seen: None,
        }
    }
}

/// Computes, until the pool is closed, while it is not starved.
pub(super) fn run(pool: &Pool<WholeJob>, shift: Shift, handover: &Handover<Shift>) {
    priority::low();
    let mut shift = Some(shift);
    while let Some(mut next) = shift.take().or_else(|| handover.receive()) {
        if !next.work(pool, Share::Starved) || !handover.give(next) {
            return;
        }
    }
}

/// Computes while the other thread is starved.
pub(super) fn relieve(pool: &Pool<WholeJob>, share: u8, handover: &Handover<Shift>) {
    priority::keep_share(share);
    while let Some(mut shift) = handover.receive() {
        if !shift.work(pool, Share::Ample) || !handover.give(shift) {
            return;
        }
    }
}

impl Shift {
    /// Works until the share of the core is that; `false` when the pool is closed.
    fn work(&mut self, pool: &Pool<WholeJob>, until: Share) -> bool {
        let linger = (until == Share::Ample).then_some(LINGER);
        self.pulse.restart();
        while let Some(jobs) = pool.come_by(self.thread, Vec::new(), self.seen.take(), linger) {
            if jobs.is_empty() && linger.is_some() {
                return true;
            }
            for job in jobs {
                if job.is_abandoned() {
                    continue;
                }
                let begun = Instant::now();
                if catch_unwind(AssertUnwindSafe(|| job.run())).is_err() {
                    tracing::error!("a hash panicked, and has failed");
                }
                let took = begun.elapsed();
                self.seen = Some(Seen {
                    took,
                    units: 1,
                    lanes: 1,
                });
                if self.pulse.observe(took, took) == Some(until) {
                    return true;
                }
            }
        }
        false
    }
}
