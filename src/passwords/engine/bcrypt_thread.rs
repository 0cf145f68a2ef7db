//! The threads that compute bcrypt in lanes, slice by slice.
//!
//! Lanes are worked by a thread that runs only where nothing else wants the core,
//! so that a session check never waits for a login. While that leaves it less than the
//! share of the core that hashing is to have, a second thread works the lanes, at a
//! priority that keeps that share against the threads that serve requests.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    time::Duration,
};

use super::{
    crew::{Crew, Stint},
    handover::Handover,
    job::BcryptJob,
    pool::Pool,
    priority,
    pulse::Share,
};

/// How long the second thread waits for work before it hands the lanes back: calls that
/// follow one another must not meet a starved thread each time.
pub(super) const LINGER: Duration = Duration::from_secs(1);

/// Works the lanes where nothing else wants the core.
pub(super) fn run(pool: &Pool<BcryptJob>, crew: Crew, handover: &Handover<Crew>) {
    priority::idle();
    let mut crew = Some(crew);
    while let Some(next) = crew.take().or_else(|| handover.receive()) {
        let stint = Stint {
            until: Share::Starved,
            linger: None,
        };
        if !work(pool, next, stint, handover) {
            return;
        }
    }
}

/// Works the lanes while the other thread is starved.
pub(super) fn relieve(pool: &Pool<BcryptJob>, share: u8, handover: &Handover<Crew>) {
    priority::keep_share(share);
    while let Some(crew) = handover.receive() {
        let stint = Stint {
            until: Share::Ample,
            linger: Some(LINGER),
        };
        if !work(pool, crew, stint, handover) {
            return;
        }
    }
}

/// Works the lanes for a stint and hands them over; `false` when the pool is closed.
fn work(pool: &Pool<BcryptJob>, mut crew: Crew, stint: Stint, handover: &Handover<Crew>) -> bool {
    loop {
        let fresh = crew.fresh();
        let worked = catch_unwind(AssertUnwindSafe(move || {
            let is_open = crew.work(pool, stint);
            (crew, is_open)
        }));
        match worked {
            Ok((crew, true)) => return handover.give(crew),
            Ok((_, false)) => return false,
            Err(_) => {
                tracing::error!("a hashing thread panicked; what it had begun has failed");
                crew = fresh;
            }
        }
    }
}
