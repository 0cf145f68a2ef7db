//! A channel in both directions between two threads, for one value at a time.

use std::{
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

/// One end of the channel.
pub(super) struct Duplex<T> {
    shared: Arc<Shared<T>>,
    /// The number of this end: 0 or 1.
    end: usize,
}

struct Shared<T> {
    slots: Mutex<Slots<T>>,
    changed: Condvar,
}

struct Slots<T> {
    /// For each end, the sent value until it is received.
    values: [Option<T>; 2],
    /// Whether one of the ends has been dropped.
    is_closed: bool,
}

impl<T> Duplex<T> {
    /// The two ends of a new channel.
    pub(super) fn pair() -> [Self; 2] {
        let shared = Arc::new(Shared {
            slots: Mutex::new(Slots {
                values: [None, None],
                is_closed: false,
            }),
            changed: Condvar::new(),
        });
        [0, 1].map(|end| Self {
            shared: Arc::clone(&shared),
            end,
        })
    }

    /// Sends a value to the other end. Returns `false` if the other end was dropped.
    pub(super) fn send(&self, value: T) -> bool {
        let mut slots = self.lock();
        slots.values[1 - self.end] = Some(value);
        self.shared.changed.notify_all();
        !slots.is_closed
    }

    /// Takes back a sent value that the other end does not receive within the timeout.
    pub(super) fn reclaim_after(&self, timeout: Duration) -> Option<T> {
        let other = 1 - self.end;
        let is_unreceived =
            |slots: &mut Slots<T>| slots.values[other].is_some() && !slots.is_closed;
        let waited = self
            .shared
            .changed
            .wait_timeout_while(self.lock(), timeout, is_unreceived);
        let (mut slots, _) = waited.unwrap_or_else(PoisonError::into_inner);
        slots.values[other].take()
    }

    /// Waits for a value. Returns `None` if the other end was dropped.
    pub(super) fn receive(&self) -> Option<T> {
        let is_waiting =
            |slots: &mut Slots<T>| slots.values[self.end].is_none() && !slots.is_closed;
        let waited = self.shared.changed.wait_while(self.lock(), is_waiting);
        let mut slots = waited.unwrap_or_else(PoisonError::into_inner);
        let value = slots.values[self.end].take();
        // The other end may be in `reclaim_after`.
        self.shared.changed.notify_all();
        value
    }

    fn lock(&self) -> MutexGuard<'_, Slots<T>> {
        let slots = self.shared.slots.lock();
        slots.unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T> Drop for Duplex<T> {
    fn drop(&mut self) {
        self.lock().is_closed = true;
        self.shared.changed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    const SHORT: Duration = Duration::from_millis(1);

    #[test]
    fn values_go_back_and_forth() {
        let [first, second] = Duplex::pair();
        let other = thread::spawn(move || {
            while let Some(number) = second.receive() {
                second.send(number + 1);
            }
        });
        assert!(first.send(1));
        assert_eq!(first.receive(), Some(2));
        drop(first);
        other.join().unwrap();
    }

    #[test]
    fn an_unreceived_value_can_be_reclaimed() {
        let [first, second] = Duplex::pair();
        first.send(1);
        assert_eq!(first.reclaim_after(SHORT), Some(1));
        first.send(2);
        assert_eq!(second.receive(), Some(2));
        assert_eq!(first.reclaim_after(SHORT), None);
        drop(second);
        assert!(!first.send(3), "the other end was dropped");
        assert_eq!(first.receive(), None);
    }
}
