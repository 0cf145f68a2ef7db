//! How many connections there are, and from where. When there is no place left, the
//! connection that has been idle longest is ended for a new one.

mod known_networks;
mod network_counts;
mod open_connections;

use std::{
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use ipnet::IpNet;
use tokio::sync::{Notify, oneshot};

use self::{
    known_networks::KnownNetworks,
    network_counts::NetworkCounts,
    open_connections::{Connected, Group, OpenConnections},
};
use crate::{
    config::LimitSettings,
    domain::Network,
    peer::{CoarseClock, Traffic},
};

/// One of so many places is kept for networks that are known.
const KEPT: usize = 8;

/// The most connections that were told to end and are still there.
const MOST_LEAVING: usize = 16;

/// The connections that may be open at once: in all, from one network, and from one wide
/// network.
pub(crate) struct ConnectionLimits {
    taken: Mutex<OpenState>,
    most: usize,
    most_per_network: usize,
    most_per_wide_network: usize,
    trusted_proxies: Vec<IpNet>,
    /// Whether connections are ended for new ones.
    evicts: bool,
    clock: CoarseClock,
    left: Notify,
}

#[derive(Default)]
struct OpenState {
    counts: NetworkCounts,
    open: OpenConnections,
    known: KnownNetworks,
    /// Connections that were told to end and are still there.
    leaving: usize,
}

/// An admitted connection's place, given back when dropped.
pub(crate) struct ConnectionPermit {
    connection_limits: Arc<ConnectionLimits>,
    id: u64,
}

impl ConnectionPermit {
    /// The number of its connection.
    pub(crate) fn id(&self) -> u64 {
        self.id
    }
}

/// A place, and how its connection learns that another one needs it.
pub(crate) struct Admitted {
    pub(crate) place: ConnectionPermit,
    pub(crate) evicted: oneshot::Receiver<()>,
    /// Whether another connection had to go.
    pub(crate) has_evicted: bool,
}

/// Which limit a connection would exceed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ConnectionRefusal {
    /// `max-connections`, and none of those that are open is idle.
    All,
    /// `max-connections-per-peer`.
    Network,
    /// `max-connections-per-wide-network`.
    WideNetwork,
}

impl ConnectionLimits {
    /// So many places in all, and for the rest the limits that are set.
    pub(crate) fn new(most: usize, limits: &LimitSettings) -> Self {
        Self {
            taken: Mutex::default(),
            most,
            most_per_network: limits.max_connections_per_peer,
            most_per_wide_network: limits.max_connections_per_wide_network(),
            trusted_proxies: Vec::new(),
            evicts: false,
            clock: CoarseClock::default(),
            left: Notify::new(),
        }
    }

    /// Counts these in all, but by no network: a proxy connects for many.
    pub(crate) fn trusting(self, trusted_proxies: Vec<IpNet>) -> Self {
        Self {
            trusted_proxies,
            ..self
        }
    }

    /// Ends connections that are idle for new ones, and keeps places for known networks.
    pub(crate) fn evicting(self) -> Self {
        Self {
            evicts: true,
            ..self
        }
    }

    /// What idle times are measured by.
    pub(crate) fn clock(&self) -> &CoarseClock {
        &self.clock
    }

    /// A place for a connection from an address.
    ///
    /// # Errors
    ///
    /// The limit that it would exceed.
    pub(crate) fn take(
        self: &Arc<Self>,
        address: IpAddr,
        traffic: &Arc<Traffic>,
    ) -> Result<Admitted, ConnectionRefusal> {
        let network = self.network_of(address);
        let mut guard = self.lock();
        let taken = &mut *guard;
        if let Some(network) = network {
            if taken.counts.of(network) >= self.most_per_network {
                return Err(ConnectionRefusal::Network);
            }
            if taken.counts.of_wide(network) >= self.most_per_wide_network {
                return Err(ConnectionRefusal::WideNetwork);
            }
        }
        let group = match network {
            Some(network) if !taken.known.contains(network, self.clock.now()) => Group::Unknown,
            _ => Group::Known,
        };
        let has_evicted = self.make_room(taken, group)?;
        if let Some(network) = network {
            taken.counts.add(network);
        }
        let (evict, evicted) = oneshot::channel();
        let connected = Connected {
            network,
            traffic: Arc::clone(traffic),
            evict,
        };
        let id = taken.open.add(connected, group, self.clock.now());
        drop(guard);
        let connection_limits = Arc::clone(self);
        Ok(Admitted {
            place: ConnectionPermit {
                connection_limits,
                id,
            },
            evicted,
            has_evicted,
        })
    }

    /// Makes sure that there is a place for one more of a group. `true` when another
    /// connection has to go for it.
    fn make_room(&self, taken: &mut OpenState, group: Group) -> Result<bool, ConnectionRefusal> {
        let kept = if self.evicts { self.most / KEPT } else { 0 };
        let is_full = taken.open.len() >= self.most;
        let is_over_share =
            group == Group::Unknown && taken.open.of(Group::Unknown) >= self.most - kept;
        if !is_full && !is_over_share {
            return Ok(false);
        }
        if !self.evicts {
            return Err(ConnectionRefusal::All);
        }
        let now = self.clock.now();
        let known = taken.open.of(Group::Known);
        let groups: &[Group] = match group {
            Group::Known => &[Group::Unknown, Group::Known],
            // The known ones hold more than both groups can have.
            Group::Unknown if known > self.most / 2 => &[Group::Known, Group::Unknown],
            // Those whose places are kept do not have to go for those whose are not.
            Group::Unknown if known > kept && !is_over_share => &[Group::Unknown, Group::Known],
            Group::Unknown => &[Group::Unknown],
        };
        let mut groups = groups.iter();
        let evicted = groups.find_map(|group| taken.open.take_idle(*group, now));
        let Some(evicted) = evicted else {
            return Err(ConnectionRefusal::All);
        };
        if let Some(network) = evicted.network {
            taken.counts.remove(network);
        }
        taken.leaving += 1;
        // One that ends just now need not be told.
        let _ = evicted.evict.send(());
        Ok(true)
    }

    /// Notes that the service knows callers of a connection's network.
    pub(crate) fn note_known(&self, connection: u64) {
        let mut taken = self.lock();
        if let Some(Some(network)) = taken.open.make_known(connection) {
            taken.known.note(network, self.clock.now());
        }
    }

    /// Waits while many connections that were told to end are still there.
    pub(crate) async fn settle(&self) {
        loop {
            let left = self.left.notified();
            if self.lock().leaving <= MOST_LEAVING {
                return;
            }
            left.await;
        }
    }

    /// What a connection counts against; nothing for a trusted proxy.
    fn network_of(&self, address: IpAddr) -> Option<Network> {
        let canonical = address.to_canonical();
        let mut proxies = self.trusted_proxies.iter();
        let is_proxy = proxies.any(|network| network.contains(&canonical));
        (!is_proxy).then(|| Network::of(address))
    }

    fn lock(&self) -> MutexGuard<'_, OpenState> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for ConnectionPermit {
    fn drop(&mut self) {
        let mut taken = self.connection_limits.lock();
        match taken.open.remove(self.id) {
            Some((connected, group)) => {
                if let Some(network) = connected.network {
                    taken.counts.remove(network);
                    if group == Group::Known {
                        taken
                            .known
                            .note(network, self.connection_limits.clock.now());
                    }
                }
            }
            // It was counted out when it was told to end.
            None => {
                taken.leaving -= 1;
                drop(taken);
                self.connection_limits.left.notify_waiters();
            }
        }
    }
}

#[cfg(test)]
mod tests;
