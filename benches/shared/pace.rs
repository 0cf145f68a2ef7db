//! A schedule with exact times.

use std::{
    hint, iter, thread,
    time::{Duration, Instant},
};

/// The margin for the late wake-up of a sleeping thread.
const EARLY: Duration = Duration::from_micros(80);

/// An endless schedule; each time is yielded when it is reached. A late consumer gets the
/// missed times at once.
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
