//! Limits the log lines on the requests of one port, so that a flood of cheap requests does not
//! fill the disk.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use tokio::runtime::Handle;

use crate::domain::Network;

const PERIOD: Duration = Duration::from_secs(1);

/// The class of requests that a quota applies to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum QuotaClass {
    /// The request was refused or cancelled, or changed nothing.
    Expendable,
    /// The database or another resource was unavailable.
    Unavailable,
    /// An internal error occurred.
    Internal,
}

/// The quotas of one port, one for each class: a flood of one class does not suppress the
/// lines of another.
pub(crate) struct LogQuotas([Arc<Quota>; 3]);

impl LogQuotas {
    /// Takes a line for a request from a network; `false` if the quota is used up.
    pub(crate) fn take(&self, class: QuotaClass, network: Option<Network>) -> bool {
        self.0[class as usize].take(network)
    }
}

impl Default for LogQuotas {
    fn default() -> Self {
        let quota = |max_lines, max_per_network, subject| {
            Arc::new(Quota {
                max_lines,
                max_per_network,
                subject,
                window: Mutex::default(),
            })
        };
        Self([
            quota(100, 20, "refused, cancelled or without effect"),
            // The cause is the same for all callers.
            quota(20, 20, "failed with an unavailable resource"),
            quota(20, 20, "failed with an internal error"),
        ])
    }
}

/// A limit on lines per second, in total and per network. Requests beyond it are counted, and
/// logged in one summary line per second.
struct Quota {
    max_lines: usize,
    max_per_network: usize,
    /// The description of the requests in the summary.
    subject: &'static str,
    window: Mutex<Window>,
}

/// The current second.
#[derive(Default)]
struct Window {
    start: Option<Instant>,
    lines: usize,
    /// Only networks with a line in this second, so at most as many as lines.
    by_network: HashMap<Option<Network>, usize>,
    suppressed: u64,
    /// The network of all suppressed requests; `None` where there are several.
    suppressed_network: Option<Network>,
}

impl Quota {
    fn take(self: &Arc<Self>, network: Option<Network>) -> bool {
        let mut window = self.lock();
        if window.start.is_none_or(|start| start.elapsed() >= PERIOD) {
            (window.start, window.lines) = (Some(Instant::now()), 0);
            window.by_network.clear();
        }
        let lines = window.by_network.get(&network).copied().unwrap_or_default();
        if window.lines < self.max_lines && lines < self.max_per_network {
            window.lines += 1;
            window.by_network.insert(network, lines + 1);
            return true;
        }
        let is_first = window.suppressed == 0;
        if is_first {
            window.suppressed_network = network;
        } else if window.suppressed_network != network {
            window.suppressed_network = None;
        }
        window.suppressed += 1;
        drop(window);
        if is_first && let Ok(runtime) = Handle::try_current() {
            let quota = Arc::downgrade(self);
            runtime.spawn(async move {
                tokio::time::sleep(PERIOD).await;
                if let Some(quota) = quota.upgrade() {
                    quota.write_summary();
                }
            });
        }
        false
    }

    /// Logs the number of requests without a line.
    fn write_summary(&self) {
        let mut window = self.lock();
        let requests = std::mem::take(&mut window.suppressed);
        let network = window.suppressed_network.take();
        let network = network.map(|network| network.to_string());
        drop(window);
        if requests > 0 {
            tracing::warn!(
                requests,
                network,
                "requests without a log line, over the quota per second: {}",
                self.subject
            );
        }
    }

    fn lock(&self) -> MutexGuard<'_, Window> {
        self.window.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Quota {
    fn drop(&mut self) {
        self.write_summary();
    }
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};

    use super::*;

    fn network(n: u32) -> Option<Network> {
        Some(Network::of(IpAddr::V4(Ipv4Addr::from_bits(n))))
    }

    fn lines(quotas: &LogQuotas, network: Option<Network>) -> usize {
        let lines = (0..200).filter(|_| quotas.take(QuotaClass::Expendable, network));
        lines.count()
    }

    #[test]
    fn lines_are_limited_per_network_and_in_total() {
        let quotas = LogQuotas::default();
        for n in 0..5 {
            assert_eq!(lines(&quotas, network(n)), 20);
        }
        assert_eq!(lines(&quotas, network(5)), 0);
        // The other classes are unaffected.
        assert!(quotas.take(QuotaClass::Unavailable, network(0)));
        assert!(quotas.take(QuotaClass::Internal, network(0)));
    }

    #[test]
    fn memory_is_bounded_for_any_number_of_networks() {
        let quotas = LogQuotas::default();
        for n in 0..10_000 {
            quotas.take(QuotaClass::Expendable, network(n));
        }
        let window = quotas.0[QuotaClass::Expendable as usize].lock();
        assert!(window.by_network.len() <= 100);
        assert!(window.by_network.capacity() < 1_000);
    }

    #[test]
    fn a_summary_names_the_network_only_if_there_is_one() {
        let quotas = LogQuotas::default();
        let network_named = || {
            let window = quotas.0[QuotaClass::Expendable as usize].lock();
            window.suppressed_network
        };
        lines(&quotas, network(1));
        assert_eq!(network_named(), network(1));
        lines(&quotas, network(2));
        assert_eq!(network_named(), None);
        lines(&quotas, network(2));
        assert_eq!(
            network_named(),
            None,
            "the count includes the first network"
        );
    }
}
