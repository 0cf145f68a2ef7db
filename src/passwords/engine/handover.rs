//! Two threads of different priorities that do the same work in turn.

use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

/// One end: where the work goes, and where it comes from.
pub(super) struct Handover<T> {
    to_other: SyncSender<T>,
    from_other: Receiver<T>,
}

impl<T> Handover<T> {
    /// The ends of two threads.
    pub(super) fn pair() -> [Self; 2] {
        let (to_second, from_first) = sync_channel(1);
        let (to_first, from_second) = sync_channel(1);
        let first = Self {
            to_other: to_second,
            from_other: from_second,
        };
        let second = Self {
            to_other: to_first,
            from_other: from_first,
        };
        [first, second]
    }

    /// Hands the work to the other thread; `false` when that has ended.
    pub(super) fn give(&self, work: T) -> bool {
        self.to_other.send(work).is_ok()
    }

    /// Waits for the work; `None` when the other thread has ended.
    pub(super) fn receive(&self) -> Option<T> {
        self.from_other.recv().ok()
    }
}
