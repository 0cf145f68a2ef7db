//! How many connections there are, and from where.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv6Addr},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use ipnet::IpNet;

/// The connections that may be open at once, in all and from one network.
pub(super) struct Places {
    taken: Mutex<Taken>,
    most: usize,
    most_per_network: usize,
    trusted_proxies: Vec<IpNet>,
}

#[derive(Default)]
struct Taken {
    all: usize,
    by_network: HashMap<IpAddr, usize>,
}

/// An admitted connection's place, given back when dropped.
pub(super) struct Place {
    places: Arc<Places>,
    /// The one that it counts against.
    network: Option<IpAddr>,
}

impl Places {
    pub(super) fn new(most: usize, most_per_network: usize) -> Self {
        Self {
            taken: Mutex::default(),
            most,
            most_per_network,
            trusted_proxies: Vec::new(),
        }
    }

    /// Counts these in all, but by no network: a proxy connects for many.
    pub(super) fn trusting(self, trusted_proxies: Vec<IpNet>) -> Self {
        Self {
            trusted_proxies,
            ..self
        }
    }

    /// A place for a connection from an address, if there is one.
    pub(super) fn take(self: &Arc<Self>, address: IpAddr) -> Option<Place> {
        let network = self.network_of(address);
        let mut taken = self.lock();
        if taken.all >= self.most {
            return None;
        }
        if let Some(network) = network {
            let own = taken.by_network.get(&network).copied().unwrap_or_default();
            if own >= self.most_per_network {
                return None;
            }
            taken.by_network.insert(network, own + 1);
        }
        taken.all += 1;
        Some(Place {
            places: Arc::clone(self),
            network,
        })
    }

    /// What one party is given to connect from: an IPv4 address, or the /64 that
    /// an IPv6 address lies in; nothing for a proxy.
    fn network_of(&self, address: IpAddr) -> Option<IpAddr> {
        let address = address.to_canonical();
        let mut proxies = self.trusted_proxies.iter();
        if proxies.any(|network| network.contains(&address)) {
            return None;
        }
        Some(match address {
            IpAddr::V4(address) => IpAddr::V4(address),
            IpAddr::V6(address) => {
                IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & (u128::MAX << 64)))
            }
        })
    }

    fn lock(&self) -> MutexGuard<'_, Taken> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.places.lock();
        taken.all -= 1;
        let Some(network) = self.network else {
            return;
        };
        match taken.by_network.get_mut(&network) {
            Some(own) if *own > 1 => *own -= 1,
            _ => {
                taken.by_network.remove(&network);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_counted_by_network_and_given_back() {
        let places = Arc::new(Places::new(3, 2));
        let take = |address: &str| places.take(address.parse().unwrap());
        let first = take("2001:db8::1").unwrap();
        let _second = take("2001:db8::2").unwrap();
        assert!(take("2001:db8::3").is_none(), "one /64 has two");
        let _other = take("192.0.2.1").unwrap();
        assert!(take("192.0.2.2").is_none(), "three in all");
        drop(first);
        let fourth = take("::ffff:192.0.2.1").unwrap();
        assert!(take("2001:db8::3").is_none(), "three in all again");
        drop(fourth);
        assert!(take("2001:db8::3").is_some());
    }

    #[test]
    fn a_trusted_proxy_is_counted_in_all_alone() {
        let trusted = ["10.0.0.0/8", "2001:db8::/32"].map(|text| text.parse().unwrap());
        let places = Arc::new(Places::new(4, 1).trusting(trusted.to_vec()));
        let take = |address: &str| places.take(address.parse().unwrap());
        let _other = take("192.0.2.1").unwrap();
        assert!(take("192.0.2.1").is_none(), "nobody trusts that one");
        let mut proxies: Vec<_> = ["10.0.0.1", "::ffff:10.0.0.1", "2001:db8::1"]
            .into_iter()
            .map(|address| take(address).unwrap())
            .collect();
        assert!(take("10.0.0.1").is_none(), "four in all");
        proxies.pop();
        assert!(take("2001:db8::1").is_some());
        drop(proxies);
        assert_eq!(places.lock().by_network.len(), 1);
    }
}
