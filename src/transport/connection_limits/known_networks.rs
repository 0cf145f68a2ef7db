//! The table of networks with known callers.

use std::{collections::HashMap, time::Duration};

use crate::{domain::Network, peer::CoarseClock};

/// A network stays known for this long after the end of the last connection from it.
const KNOWN_FOR: Duration = Duration::from_secs(24 * 3_600);

/// The limit on known networks, each about 50 bytes.
const MAX_NETWORKS: usize = 16_384;

/// The time of last use of each network, by the [`CoarseClock`].
#[derive(Default)]
pub(super) struct KnownNetworks(HashMap<Network, u32>);

impl KnownNetworks {
    /// Adds a network, or moves its time of last use.
    pub(super) fn insert(&mut self, network: Network, now: u32) {
        if self.0.len() >= MAX_NETWORKS && !self.0.contains_key(&network) {
            self.prune(now);
        }
        self.0.insert(network, now);
    }

    pub(super) fn contains(&self, network: Network, now: u32) -> bool {
        self.0
            .get(&network)
            .is_some_and(|used| is_fresh(*used, now))
    }

    /// Removes expired networks, else the least recently used quarter, so that pruning stays
    /// rare.
    fn prune(&mut self, now: u32) {
        self.0.retain(|_, used| is_fresh(*used, now));
        if self.0.len() < MAX_NETWORKS {
            return;
        }
        let mut times: Vec<u32> = self.0.values().copied().collect();
        let (_, &mut threshold, _) = times.select_nth_unstable(MAX_NETWORKS / 4);
        self.0.retain(|_, used| *used > threshold);
    }
}

fn is_fresh(used: u32, now: u32) -> bool {
    let ticks = KNOWN_FOR.as_millis() / CoarseClock::TICK.as_millis();
    u128::from(now.saturating_sub(used)) < ticks
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    fn network(n: usize) -> Network {
        Network::of(Ipv4Addr::from_bits(u32::try_from(n).unwrap()).into())
    }

    #[test]
    fn a_network_is_known_for_a_day() {
        let mut known = KnownNetworks::default();
        known.insert(network(1), 5);
        let day = 24 * 3_600 * 10;
        assert!(known.contains(network(1), 5 + day - 1));
        assert!(!known.contains(network(1), 5 + day));
        assert!(!known.contains(network(2), 5));
    }

    #[test]
    fn the_least_recently_used_networks_are_removed() {
        let mut known = KnownNetworks::default();
        for n in 0..3 * MAX_NETWORKS {
            known.insert(network(n), u32::try_from(n).unwrap());
            assert!(known.0.len() <= MAX_NETWORKS);
        }
        let now = u32::try_from(3 * MAX_NETWORKS).unwrap();
        assert!(known.contains(network(3 * MAX_NETWORKS - 1), now));
        assert!(known.contains(network(3 * MAX_NETWORKS - MAX_NETWORKS / 2), now));
        assert!(!known.contains(network(0), now));
    }
}
