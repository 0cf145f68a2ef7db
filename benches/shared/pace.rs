//! Being there at a certain time.

use std::{
    hint, iter, thread,
    time::{Duration, Instant},
};

/// A thread that sleeps wakes up somewhat late.
const EARLY: Duration = Duration::from_micros(80);

/// The times at which something is due, each yielded when it has come, without
/// end. Whoever comes late for one finds the next ones waiting.
pub fn every(interval: Duration, first: Instant) -> impl Iterator<Item = Instant> {
    iter::successors(Some(first), move |due| Some(*due + interval)).inspect(|due| wait_until(*due))
}

fn wait_until(due: Instant) {
    let left = due.saturating_duration_since(Instant::now());
    thread::sleep(left.saturating_sub(EARLY));
    while Instant::now() < due {
        hint::spin_loop();
    }
}
