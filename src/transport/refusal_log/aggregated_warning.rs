//! A warning that sums up the events of an interval in one line.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{
    runtime::Handle,
    time::{self, Instant},
};

use crate::domain::Network;

/// `N` counters that are written to the log in one line. The first event is logged at once,
/// later ones together at the end of the interval.
pub(super) struct AggregatedWarning<const N: usize> {
    pending: Mutex<PendingCounts<N>>,
    interval: Duration,
    write: fn([u64; N], Option<Network>),
}

struct PendingCounts<const N: usize> {
    /// The events since the last line.
    counts: [u64; N],
    /// The network of all these events; `None` where there are several.
    network: Option<Network>,
    last_written: Option<Instant>,
    /// Whether a task will write the counts.
    is_scheduled: bool,
}

impl<const N: usize> AggregatedWarning<N> {
    pub(super) fn new(interval: Duration, write: fn([u64; N], Option<Network>)) -> Arc<Self> {
        let pending = PendingCounts {
            counts: [0; N],
            network: None,
            last_written: None,
            is_scheduled: false,
        };
        Arc::new(Self {
            pending: Mutex::new(pending),
            interval,
            write,
        })
    }

    /// Counts an event from a network.
    pub(super) fn add(self: &Arc<Self>, index: usize, network: Network) {
        let mut pending = self.lock();
        if pending.counts == [0; N] {
            pending.network = Some(network);
        } else if pending.network != Some(network) {
            pending.network = None;
        }
        pending.counts[index] += 1;
        let due = pending.last_written.map(|written| written + self.interval);
        let Some(due) = due.filter(|due| *due > Instant::now()) else {
            drop(pending);
            self.write_pending();
            return;
        };
        if !pending.is_scheduled
            && let Ok(runtime) = Handle::try_current()
        {
            pending.is_scheduled = true;
            let warning = Arc::downgrade(self);
            runtime.spawn(async move {
                time::sleep_until(due).await;
                if let Some(warning) = warning.upgrade() {
                    warning.lock().is_scheduled = false;
                    warning.write_pending();
                }
            });
        }
    }

    fn write_pending(&self) {
        let mut pending = self.lock();
        let counts = std::mem::replace(&mut pending.counts, [0; N]);
        let network = pending.network.take();
        if counts == [0; N] {
            return;
        }
        pending.last_written = Some(Instant::now());
        drop(pending);
        (self.write)(counts, network);
    }

    fn lock(&self) -> MutexGuard<'_, PendingCounts<N>> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<const N: usize> Drop for AggregatedWarning<N> {
    fn drop(&mut self) {
        self.write_pending();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_first_event_is_written_at_once_and_later_ones_together() {
        static WRITTEN: Mutex<Vec<(u64, bool)>> = Mutex::new(Vec::new());
        let interval = Duration::from_secs(1);
        let warning = AggregatedWarning::new(interval, |[count]: [u64; 1], network| {
            WRITTEN.lock().unwrap().push((count, network.is_some()));
        });
        let written = || std::mem::take(&mut *WRITTEN.lock().unwrap());
        let [one, other] = [[192, 0, 2, 1], [192, 0, 2, 2]].map(|ip| Network::of(ip.into()));
        warning.add(0, one);
        assert_eq!(written(), [(1, true)]);
        for network in [one, one, other] {
            warning.add(0, network);
        }
        assert_eq!(written(), []);
        while WRITTEN.lock().unwrap().is_empty() {
            time::sleep(Duration::from_millis(5)).await;
        }
        assert_eq!(written(), [(3, false)], "there are two networks");
        warning.add(0, other);
        drop(warning);
        assert_eq!(written(), [(1, true)]);
    }
}
