//! Networks from which the service was used with success.

use std::{collections::HashMap, time::Duration};

use crate::{domain::Network, peer::CoarseClock};

/// How long a network is known after the last connection on which it was used.
const KNOWN_FOR: Duration = Duration::from_secs(24 * 3_600);

/// The most networks that are kept, each some 50 bytes.
const MOST: usize = 16_384;

/// When each was used last, by the clock of connections.
#[derive(Default)]
pub(super) struct KnownNetworks(HashMap<Network, u32>);

impl KnownNetworks {
    /// Notes that a network is used now.
    pub(super) fn note(&mut self, network: Network, now: u32) {
        if self.0.len() >= MOST && !self.0.contains_key(&network) {
            self.make_room(now);
        }
        self.0.insert(network, now);
    }

    pub(super) fn contains(&self, network: Network, now: u32) -> bool {
        self.0.get(&network).is_some_and(|at| is_fresh(*at, now))
    }

    /// Forgets those that are known no longer, and if that is not enough those that
    /// were used longest ago: a quarter, so that it has not to be done again soon.
    fn make_room(&mut self, now: u32) {
        self.0.retain(|_, at| is_fresh(*at, now));
        if self.0.len() < MOST {
            return;
        }
        let mut times: Vec<u32> = self.0.values().copied().collect();
        let (_, &mut oldest_kept, _) = times.select_nth_unstable(MOST / 4);
        self.0.retain(|_, at| *at > oldest_kept);
    }
}

fn is_fresh(at: u32, now: u32) -> bool {
    let ticks = KNOWN_FOR.as_millis() / CoarseClock::TICK.as_millis();
    u128::from(now.saturating_sub(at)) < ticks
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
        known.note(network(1), 5);
        let day = 24 * 3_600 * 10;
        assert!(known.contains(network(1), 5 + day - 1));
        assert!(!known.contains(network(1), 5 + day));
        assert!(!known.contains(network(2), 5));
    }

    #[test]
    fn no_more_are_kept_than_there_is_room_for() {
        let mut known = KnownNetworks::default();
        for n in 0..3 * MOST {
            known.note(network(n), u32::try_from(n).unwrap());
            assert!(known.0.len() <= MOST);
        }
        let now = u32::try_from(3 * MOST).unwrap();
        assert!(known.contains(network(3 * MOST - 1), now));
        assert!(known.contains(network(3 * MOST - MOST / 2), now));
        assert!(!known.contains(network(0), now));
    }
}
