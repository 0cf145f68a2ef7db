//! How many connections each network has.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv6Addr},
};

/// By network, and by wide network: the IPv6 /48 that a network lies in.
#[derive(Default)]
pub(super) struct NetworkCounts {
    networks: HashMap<IpAddr, usize>,
    wide_networks: HashMap<IpAddr, usize>,
}

impl NetworkCounts {
    /// The connections of a network.
    pub(super) fn of(&self, network: IpAddr) -> usize {
        self.networks.get(&network).copied().unwrap_or_default()
    }

    /// The connections of the wide network that a network lies in.
    pub(super) fn of_wide(&self, network: IpAddr) -> usize {
        let count = wide(network).and_then(|wide| self.wide_networks.get(&wide));
        count.copied().unwrap_or_default()
    }

    /// Counts a connection of a network in.
    pub(super) fn add(&mut self, network: IpAddr) {
        *self.networks.entry(network).or_default() += 1;
        if let Some(wide) = wide(network) {
            *self.wide_networks.entry(wide).or_default() += 1;
        }
    }

    /// Counts a connection of a network out.
    pub(super) fn remove(&mut self, network: IpAddr) {
        remove_one(&mut self.networks, network);
        if let Some(wide) = wide(network) {
            remove_one(&mut self.wide_networks, wide);
        }
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.networks.len()
    }
}

/// What one party is given to connect from: an IPv4 address, or the /64 that an IPv6
/// address lies in.
pub(super) fn network_of(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => IpAddr::V4(address),
        IpAddr::V6(address) => IpAddr::V6(first_bits(address, 64)),
    }
}

/// The /48 that an IPv6 network lies in: what one site is given.
fn wide(network: IpAddr) -> Option<IpAddr> {
    match network {
        IpAddr::V4(_) => None,
        IpAddr::V6(network) => Some(IpAddr::V6(first_bits(network, 48))),
    }
}

fn first_bits(address: Ipv6Addr, bits: u32) -> Ipv6Addr {
    Ipv6Addr::from_bits(address.to_bits() & (u128::MAX << (u128::BITS - bits)))
}

fn remove_one(counts: &mut HashMap<IpAddr, usize>, network: IpAddr) {
    match counts.get_mut(&network) {
        Some(count) if *count > 1 => *count -= 1,
        _ => {
            counts.remove(&network);
        }
    }
}
