//! How many lines of the log the requests of one port may have: whoever sends what costs
//! nothing all day is not to fill a disk.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use tokio::runtime::Handle;

use crate::domain::Network;

const PERIOD: Duration = Duration::from_secs(1);

/// Why a request has a line that is under a quota.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum QuotaClass {
    /// It was refused, it was given up by its caller, or it changed nothing.
    Free,
    /// The database is away, or whatever else is told as `UNAVAILABLE`.
    Unavailable,
    /// A fault inside the service.
    Internal,
}

/// The quotas of one port, one for each reason: a flood of one kind takes no line from
/// another.
pub(crate) struct LogQuotas([Arc<Quota>; 3]);

impl LogQuotas {
    /// Whether a request from this network is to have a line.
    pub(crate) fn take(&self, reason: QuotaClass, network: Option<Network>) -> bool {
        self.0[reason as usize].take(network)
    }
}

impl Default for LogQuotas {
    fn default() -> Self {
        let quota = |most, most_per_network, subject| {
            Arc::new(Quota {
                most,
                most_per_network,
                subject,
                state: Mutex::default(),
            })
        };
        Self([
            quota(100, 20, "refused, given up or without effect"),
            // The cause is the same whoever asks.
            quota(20, 20, "failed since something is unavailable"),
            quota(20, 20, "failed inside the service"),
        ])
    }
}

/// A number of lines per second, in all and by network. What is beyond it is counted, and
/// said in one line a second.
struct Quota {
    most: usize,
    most_per_network: usize,
    /// What became of the requests.
    subject: &'static str,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    start: Option<Instant>,
    lines: usize,
    /// Only of networks that have had a line in this second, and so never more than the
    /// lines in all.
    by_network: HashMap<Option<Network>, usize>,
    unwritten: u64,
    /// Where all that is unwritten comes from; `None` where that is more than one network.
    only: Option<Network>,
}

impl Quota {
    fn take(self: &Arc<Self>, network: Option<Network>) -> bool {
        let mut state = self.lock();
        if state.start.is_none_or(|start| start.elapsed() >= PERIOD) {
            (state.start, state.lines) = (Some(Instant::now()), 0);
            state.by_network.clear();
        }
        let own = state.by_network.get(&network).copied().unwrap_or_default();
        if state.lines < self.most && own < self.most_per_network {
            state.lines += 1;
            state.by_network.insert(network, own + 1);
            return true;
        }
        let is_first = state.unwritten == 0;
        if is_first {
            state.only = network;
        } else if state.only != network {
            state.only = None;
        }
        state.unwritten += 1;
        drop(state);
        if is_first && let Ok(runtime) = Handle::try_current() {
            let quota = Arc::downgrade(self);
            runtime.spawn(async move {
                tokio::time::sleep(PERIOD).await;
                if let Some(quota) = quota.upgrade() {
                    quota.tell();
                }
            });
        }
        false
    }

    /// Says how many requests had no line.
    fn tell(&self) {
        let mut state = self.lock();
        let requests = std::mem::take(&mut state.unwritten);
        let network = state.only.take().map(|network| network.to_string());
        drop(state);
        if requests > 0 {
            tracing::warn!(
                requests,
                network,
                "requests without a line of their own, too many in a second: {}",
                self.subject
            );
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Quota {
    fn drop(&mut self) {
        self.tell();
    }
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};

    use super::*;

    fn network(n: u32) -> Option<Network> {
        Some(Network::of(IpAddr::V4(Ipv4Addr::from_bits(n))))
    }

    fn taken(quotas: &LogQuotas, network: Option<Network>) -> usize {
        let takes = (0..200).filter(|_| quotas.take(QuotaClass::Free, network));
        takes.count()
    }

    #[test]
    fn a_network_has_its_own_and_all_have_no_more_than_there_is() {
        let quotas = LogQuotas::default();
        for n in 0..5 {
            assert_eq!(taken(&quotas, network(n)), 20);
        }
        assert_eq!(taken(&quotas, network(5)), 0);
        // The others are as they were.
        assert!(quotas.take(QuotaClass::Unavailable, network(0)));
        assert!(quotas.take(QuotaClass::Internal, network(0)));
    }

    #[test]
    fn memory_does_not_grow_with_the_networks() {
        let quotas = LogQuotas::default();
        for n in 0..10_000 {
            quotas.take(QuotaClass::Free, network(n));
        }
        let free = quotas.0[QuotaClass::Free as usize].lock();
        assert!(free.by_network.len() <= 100);
        assert!(free.by_network.capacity() < 1_000);
    }

    #[test]
    fn one_network_is_named_and_several_are_not() {
        let quotas = LogQuotas::default();
        let only = || quotas.0[QuotaClass::Free as usize].lock().only;
        taken(&quotas, network(1));
        assert_eq!(only(), network(1));
        taken(&quotas, network(2));
        assert_eq!(only(), None);
        taken(&quotas, network(2));
        assert_eq!(only(), None, "the count holds the other's too");
    }
}
