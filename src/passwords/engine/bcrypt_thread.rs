//! The threads that compute bcrypt in lanes, slice by slice.
//!
//! Lanes are worked by a thread that runs only where nothing else wants the core,
//! so that a session check never waits for a login. While that leaves it less than the
//! share of the core that hashing is to have, a second thread works the lanes, at a
//! priority that keeps that share against the threads that serve requests. Empty lanes
//! are with the second thread: where the core is busy, the first one could take a second
//! to wake up.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    time::Duration,
};

use super::{
    crew::{Crew, End},
    handover::Handover,
    job::BcryptJob,
    pool::Pool,
    priority,
    pulse::Share,
};

/// How long the first thread may take to wake up before the second works in its place.
const PATIENCE: Duration = Duration::from_millis(20);

/// Works the lanes where nothing else wants the core, while they are in use.
pub(super) fn run(pool: &Pool<BcryptJob>, handover: &Handover<Crew>) {
    priority::idle();
    while let Some(crew) = handover.receive() {
        let (crew, end) = guarded(crew, |crew| crew.work(pool, Share::Starved));
        if end == End::Closed || !handover.give(crew) {
            return;
        }
    }
}

/// Begins what waits while the lanes are empty, and works them while the other thread is
/// starved.
pub(super) fn relieve(pool: &Pool<BcryptJob>, crew: Crew, share: u8, handover: &Handover<Crew>) {
    priority::keep_share(share);
    let mut next = Some(crew);
    while let Some(mut crew) = next {
        let mut end;
        if crew.is_empty() {
            (crew, end) = guarded(crew, |crew| crew.begin(pool));
            if end == End::Closed || !handover.give(crew) {
                return;
            }
            let Some(given_back) = handover.take_back_after(PATIENCE) else {
                next = handover.receive();
                continue;
            };
            crew = given_back;
        }
        (crew, end) = guarded(crew, |crew| crew.work(pool, Share::Ample));
        match end {
            End::Closed => return,
            End::Empty => next = Some(crew),
            End::Share => {
                if !handover.give(crew) {
                    return;
                }
                next = handover.receive();
            }
        }
    }
}

/// Works with the lanes. Where that panics, what is in them has failed, and it goes on
/// with empty ones.
fn guarded(mut crew: Crew, work: impl FnOnce(&mut Crew) -> End) -> (Crew, End) {
    let fresh = crew.fresh();
    let worked = catch_unwind(AssertUnwindSafe(move || {
        let end = work(&mut crew);
        (crew, end)
    }));
    worked.unwrap_or_else(|_| {
        tracing::error!("a hashing thread panicked; what it had begun has failed");
        (fresh, End::Empty)
    })
}
