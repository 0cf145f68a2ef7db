//! The two threads of each core that advance its lanes.
//!
//! The background thread runs only while nothing else wants the core, so that the threads
//! of the application never wait for a hash. While that leaves it less than the guaranteed
//! share of the core, the foreground thread works in its place, at a priority that keeps
//! the share. The foreground thread also holds the lanes while they are empty: on a busy
//! core, the background thread could take a second to wake up.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    time::Duration,
};

use super::{
    SourceKey,
    cpu_share::CpuShare,
    duplex::Duplex,
    lane_worker::{LanePool, LaneWorker, StopReason},
    priority,
};

/// The time for the background thread to wake up, before the foreground thread works in its
/// place.
const WAKE_UP_TIMEOUT: Duration = Duration::from_millis(20);

/// Runs the background thread, which advances the lanes while they are in use and it is not
/// starved.
pub(super) fn run_background<K: SourceKey>(pool: &LanePool<K>, peer: &Duplex<LaneWorker>) {
    priority::set_idle();
    while let Some(worker) = peer.receive() {
        let (worker, reason) = work(worker, pool, CpuShare::Starved);
        if reason == StopReason::Closed || !peer.send(worker) {
            return;
        }
    }
}

/// Runs the foreground thread, which begins jobs while the lanes are empty, and advances the
/// lanes while the background thread is starved.
pub(super) fn run_foreground<K: SourceKey>(
    pool: &LanePool<K>,
    worker: LaneWorker,
    share: u8,
    peer: &Duplex<LaneWorker>,
) {
    priority::set_for_share(share);
    let mut next = Some(worker);
    while let Some(mut worker) = next {
        if worker.is_empty() {
            let is_open;
            (worker, is_open) = catching_panics(worker, true, |worker| worker.begin(pool));
            if !is_open || !peer.send(worker) {
                return;
            }
            let Some(reclaimed) = peer.reclaim_after(WAKE_UP_TIMEOUT) else {
                next = peer.receive();
                continue;
            };
            worker = reclaimed;
        }
        let reason;
        (worker, reason) = work(worker, pool, CpuShare::Ample);
        match reason {
            StopReason::Closed => return,
            StopReason::Empty => next = Some(worker),
            StopReason::ShareReached => {
                if !peer.send(worker) {
                    return;
                }
                next = peer.receive();
            }
        }
    }
}

/// Advances the lanes until this thread's share of the core is `until`.
fn work<K: SourceKey>(
    worker: LaneWorker,
    pool: &LanePool<K>,
    until: CpuShare,
) -> (LaneWorker, StopReason) {
    catching_panics(worker, StopReason::Empty, |worker| worker.work(pool, until))
}

/// Calls `step`. After a panic the jobs in the lanes have failed, and a worker with empty
/// lanes is returned, with `after_panic` as the result.
fn catching_panics<T>(
    mut worker: LaneWorker,
    after_panic: T,
    step: impl FnOnce(&mut LaneWorker) -> T,
) -> (LaneWorker, T) {
    let fresh = worker.fresh();
    let stepped = catch_unwind(AssertUnwindSafe(move || {
        let result = step(&mut worker);
        (worker, result)
    }));
    stepped.unwrap_or_else(|_| {
        tracing::error!("a hashing thread panicked; the hashes in its lanes have failed");
        (fresh, after_panic)
    })
}
