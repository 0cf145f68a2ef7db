//! Networks, by which connections and requests are counted. A client usually has an IPv4
//! address or an IPv6 /64, and a site an IPv6 /48.

use std::{
    fmt,
    net::{IpAddr, Ipv6Addr},
};

/// The network of a client: an IPv4 address, or the /64 of an IPv6 address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Network(IpAddr);

/// The network of a site: the /48 of an IPv6 address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct WideNetwork(Ipv6Addr);

impl Network {
    /// The network of an address.
    pub fn of(address: IpAddr) -> Self {
        Self(match address.to_canonical() {
            IpAddr::V4(address) => IpAddr::V4(address),
            IpAddr::V6(address) => IpAddr::V6(prefix(address, 64)),
        })
    }

    /// The /48 around an IPv6 network; `None` for IPv4.
    pub fn wide(self) -> Option<WideNetwork> {
        match self.0 {
            IpAddr::V4(_) => None,
            IpAddr::V6(network) => Some(WideNetwork(prefix(network, 48))),
        }
    }
}

fn prefix(address: Ipv6Addr, bits: u32) -> Ipv6Addr {
    Ipv6Addr::from_bits(address.to_bits() & (u128::MAX << (u128::BITS - bits)))
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            IpAddr::V4(address) => write!(f, "{address}"),
            IpAddr::V6(address) => write!(f, "{address}/64"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_are_addresses_or_prefixes() {
        for (address, network) in [
            ("192.0.2.1", "192.0.2.1"),
            ("::ffff:192.0.2.1", "192.0.2.1"),
            ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ] {
            let network_of = Network::of(address.parse().unwrap());
            assert_eq!(network_of.to_string(), network);
        }
    }

    #[test]
    fn only_ipv6_has_wide_networks() {
        let wide = |address: &str| Network::of(address.parse().unwrap()).wide();
        assert_eq!(wide("192.0.2.1"), None);
        assert_eq!(wide("2001:db8:1:2::3"), wide("2001:db8:1:ffff::4"));
        assert_ne!(wide("2001:db8:1:2::3"), wide("2001:db8:2:2::3"));
    }
}
