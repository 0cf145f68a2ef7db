//! A thread that computes at one go what has no lanes.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    time::Instant,
};

use super::{
    job::{Job as _, WholeJob},
    pool::Pool,
    priority,
    state::Seen,
};

/// Computes until the pool is closed.
pub(super) fn run(pool: &Pool<WholeJob>, thread: usize) {
    priority::low();
    let mut seen = None;
    while let Some(jobs) = pool.come_by(thread, Vec::new(), seen.take()) {
        for job in jobs {
            if job.is_abandoned() {
                continue;
            }
            let begun = Instant::now();
            if catch_unwind(AssertUnwindSafe(|| job.run())).is_err() {
                tracing::error!("a hash panicked, and has failed");
            }
            seen = Some(Seen {
                took: begun.elapsed(),
                units: 1,
                lanes: 1,
            });
        }
    }
}
