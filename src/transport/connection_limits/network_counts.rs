//! The number of open connections per network.

use std::{collections::HashMap, hash::Hash};

use crate::domain::{Network, WideNetwork};

/// Counts of connections per network and per wide network.
#[derive(Default)]
pub(super) struct NetworkCounts {
    networks: HashMap<Network, usize>,
    wide_networks: HashMap<WideNetwork, usize>,
}

impl NetworkCounts {
    /// The number of connections from a network.
    pub(super) fn of(&self, network: Network) -> usize {
        self.networks.get(&network).copied().unwrap_or_default()
    }

    /// The number of connections from a network's wide network; 0 where it has none.
    pub(super) fn of_wide(&self, network: Network) -> usize {
        let count = network
            .wide()
            .and_then(|wide| self.wide_networks.get(&wide));
        count.copied().unwrap_or_default()
    }

    pub(super) fn add(&mut self, network: Network) {
        *self.networks.entry(network).or_default() += 1;
        if let Some(wide) = network.wide() {
            *self.wide_networks.entry(wide).or_default() += 1;
        }
    }

    pub(super) fn remove(&mut self, network: Network) {
        remove_one(&mut self.networks, network);
        if let Some(wide) = network.wide() {
            remove_one(&mut self.wide_networks, wide);
        }
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.networks.len()
    }
}

fn remove_one<K: Eq + Hash>(counts: &mut HashMap<K, usize>, network: K) {
    match counts.get_mut(&network) {
        Some(count) if *count > 1 => *count -= 1,
        _ => {
            counts.remove(&network);
        }
    }
}
