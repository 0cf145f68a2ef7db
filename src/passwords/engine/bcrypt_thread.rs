//! The threads that compute bcrypt in lanes, slice by slice.
//!
//! Lanes are worked by a thread that runs only where nothing else wants the core,
//! so that a session check never waits for a login. So that logins do not wait for
//! ever where something always wants it, a second thread, that is left a part of its
//! core, takes the lanes over while the first is starved.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::mpsc::{Receiver, SyncSender},
};

use super::{crew::Crew, job::BcryptJob, pool::Pool, priority, pulse::Share};

/// For how many looks at its share the second thread works at most: a core that is
/// slower than it was at best must not keep the lanes there.
const MOST_LOOKS: u32 = 20;

/// Where the lanes go, and where they come from.
pub(super) struct Handover {
    pub(super) to_other: SyncSender<Crew>,
    pub(super) from_other: Receiver<Crew>,
}

/// Works the lanes where nothing else wants the core.
pub(super) fn run(pool: &Pool<BcryptJob>, crew: Crew, handover: &Handover) {
    priority::idle();
    let mut crew = Some(crew);
    while let Some(next) = crew.take().or_else(|| handover.from_other.recv().ok()) {
        if !work(pool, next, Share::Starved, u32::MAX, handover) {
            return;
        }
    }
}

/// Works the lanes while the other thread cannot.
pub(super) fn relieve(pool: &Pool<BcryptJob>, handover: &Handover) {
    priority::low();
    while let Ok(crew) = handover.from_other.recv() {
        if !work(pool, crew, Share::Ample, MOST_LOOKS, handover) {
            return;
        }
    }
}

/// Works the lanes until the core's share is that, and hands them over; `false` when
/// the pool is closed.
fn work(
    pool: &Pool<BcryptJob>,
    mut crew: Crew,
    until: Share,
    looks: u32,
    handover: &Handover,
) -> bool {
    loop {
        let fresh = crew.fresh();
        let worked = catch_unwind(AssertUnwindSafe(move || {
            let is_open = crew.work(pool, until, looks);
            (crew, is_open)
        }));
        match worked {
            Ok((crew, true)) => {
                return handover.to_other.send(crew).is_ok();
            }
            Ok((_, false)) => return false,
            Err(_) => {
                tracing::error!("a hashing thread panicked; what it had begun has failed");
                crew = fresh;
            }
        }
    }
}
