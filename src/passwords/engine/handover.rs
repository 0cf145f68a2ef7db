//! Two threads of different priorities that do the same work in turn.

use std::{
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

/// One end: where the work goes, and where it comes from.
pub(super) struct Handover<T> {
    table: Arc<Table<T>>,
    /// Whose end it is: 0 or 1.
    own: usize,
}

struct Table<T> {
    places: Mutex<Places<T>>,
    changed: Condvar,
}

struct Places<T> {
    /// For each thread, what was handed to it and it has not taken yet.
    work: [Option<T>; 2],
    /// Whether one of the threads has ended.
    is_over: bool,
}

impl<T> Handover<T> {
    /// The ends of two threads.
    pub(super) fn pair() -> [Self; 2] {
        let table = Arc::new(Table {
            places: Mutex::new(Places {
                work: [None, None],
                is_over: false,
            }),
            changed: Condvar::new(),
        });
        [0, 1].map(|own| Self {
            table: Arc::clone(&table),
            own,
        })
    }

    /// Hands the work to the other thread; `false` when that has ended.
    pub(super) fn give(&self, work: T) -> bool {
        let mut places = self.lock();
        places.work[1 - self.own] = Some(work);
        self.table.changed.notify_all();
        !places.is_over
    }

    /// Takes back what was handed over when the other thread does not take it for so
    /// long.
    pub(super) fn take_back_after(&self, patience: Duration) -> Option<T> {
        let other = 1 - self.own;
        let is_there = |places: &mut Places<T>| places.work[other].is_some() && !places.is_over;
        let waited = self
            .table
            .changed
            .wait_timeout_while(self.lock(), patience, is_there);
        let (mut places, _) = waited.unwrap_or_else(PoisonError::into_inner);
        places.work[other].take()
    }

    /// Waits for the work; `None` when the other thread has ended.
    pub(super) fn receive(&self) -> Option<T> {
        let is_waiting =
            |places: &mut Places<T>| places.work[self.own].is_none() && !places.is_over;
        let waited = self.table.changed.wait_while(self.lock(), is_waiting);
        let mut places = waited.unwrap_or_else(PoisonError::into_inner);
        let work = places.work[self.own].take();
        // For one that may want it back.
        self.table.changed.notify_all();
        work
    }

    fn lock(&self) -> MutexGuard<'_, Places<T>> {
        let places = self.table.places.lock();
        places.unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T> Drop for Handover<T> {
    fn drop(&mut self) {
        self.lock().is_over = true;
        self.table.changed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    const SHORT: Duration = Duration::from_millis(1);

    #[test]
    fn work_goes_back_and_forth() {
        let [first, second] = Handover::pair();
        let other = thread::spawn(move || {
            while let Some(number) = second.receive() {
                second.give(number + 1);
            }
        });
        assert!(first.give(1));
        assert_eq!(first.receive(), Some(2));
        drop(first);
        other.join().unwrap();
    }

    #[test]
    fn what_nobody_takes_can_be_taken_back() {
        let [first, second] = Handover::pair();
        first.give(1);
        assert_eq!(first.take_back_after(SHORT), Some(1));
        first.give(2);
        assert_eq!(second.receive(), Some(2));
        assert_eq!(first.take_back_after(SHORT), None);
        drop(second);
        assert!(!first.give(3), "nobody is there to take it");
        assert_eq!(first.receive(), None);
    }
}
