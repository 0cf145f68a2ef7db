//! The limits on open connections: in total and per network. When the total is reached, the
//! connection with the longest idle time is closed for a new one.

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
    open_connections::{NetworkGroup, OpenConnection, OpenConnections},
};
use crate::{
    config::LimitSettings,
    domain::Network,
    peer::{CoarseClock, Traffic},
};

/// One in this many connections is reserved for known networks.
const RESERVED_FRACTION: usize = 8;

/// The limit on evicted connections that are not closed yet.
const MAX_EVICTED: usize = 16;

/// The connections that may be open at once: in total, per network and per wide network.
pub(crate) struct ConnectionLimits {
    connections: Mutex<Connections>,
    max_connections: usize,
    max_per_network: usize,
    max_per_wide_network: usize,
    trusted_proxies: Vec<IpNet>,
    /// Whether idle connections are closed for new ones.
    evicts: bool,
    clock: CoarseClock,
    evicted_closed: Notify,
}

#[derive(Default)]
struct Connections {
    counts: NetworkCounts,
    open: OpenConnections,
    known_networks: KnownNetworks,
    /// Evicted connections that are not closed yet.
    evicted: usize,
}

/// The permit of an open connection, returned when dropped.
pub(crate) struct ConnectionPermit {
    connection_limits: Arc<ConnectionLimits>,
    id: u64,
}

impl ConnectionPermit {
    /// The id of the connection.
    pub(crate) fn id(&self) -> u64 {
        self.id
    }
}

/// A permit, and the signal to close the connection for another one.
pub(crate) struct AdmittedConnection {
    pub(crate) permit: ConnectionPermit,
    pub(crate) evicted: oneshot::Receiver<()>,
    /// Whether another connection was evicted for this one.
    pub(crate) has_evicted: bool,
}

/// The limit that a connection would exceed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ConnectionRefusal {
    /// `max-connections`, and no open connection is idle.
    Total,
    /// `max-connections-per-peer`.
    Network,
    /// `max-connections-per-wide-network`.
    WideNetwork,
}

impl ConnectionLimits {
    /// Limits the total to `max_connections`, and takes the other limits from the settings.
    pub(crate) fn new(max_connections: usize, limits: &LimitSettings) -> Self {
        Self {
            connections: Mutex::default(),
            max_connections,
            max_per_network: limits.max_connections_per_peer,
            max_per_wide_network: limits.max_connections_per_wide_network(),
            trusted_proxies: Vec::new(),
            evicts: false,
            clock: CoarseClock::default(),
            evicted_closed: Notify::new(),
        }
    }

    /// Exempts these proxies from the limits per network: a proxy connects for many clients.
    pub(crate) fn with_trusted_proxies(self, trusted_proxies: Vec<IpNet>) -> Self {
        Self {
            trusted_proxies,
            ..self
        }
    }

    /// Closes idle connections for new ones, and reserves connections for known networks.
    pub(crate) fn with_eviction(self) -> Self {
        Self {
            evicts: true,
            ..self
        }
    }

    /// The clock of idle times.
    pub(crate) fn clock(&self) -> &CoarseClock {
        &self.clock
    }

    /// Acquires a permit for a connection from an address.
    ///
    /// # Errors
    ///
    /// The limit that the connection would exceed.
    pub(crate) fn acquire(
        self: &Arc<Self>,
        address: IpAddr,
        traffic: &Arc<Traffic>,
    ) -> Result<AdmittedConnection, ConnectionRefusal> {
        let network = self.network_of(address);
        let mut guard = self.lock();
        let connections = &mut *guard;
        if let Some(network) = network {
            if connections.counts.of(network) >= self.max_per_network {
                return Err(ConnectionRefusal::Network);
            }
            if connections.counts.of_wide(network) >= self.max_per_wide_network {
                return Err(ConnectionRefusal::WideNetwork);
            }
        }
        let now = self.clock.now();
        let group = match network {
            Some(network) if !connections.known_networks.contains(network, now) => {
                NetworkGroup::Unknown
            }
            _ => NetworkGroup::Known,
        };
        let has_evicted = self.make_room(connections, group)?;
        if let Some(network) = network {
            connections.counts.add(network);
        }
        let (evict, evicted) = oneshot::channel();
        let connection = OpenConnection {
            network,
            traffic: Arc::clone(traffic),
            evict,
        };
        let id = connections.open.add(connection, group, now);
        drop(guard);
        let connection_limits = Arc::clone(self);
        Ok(AdmittedConnection {
            permit: ConnectionPermit {
                connection_limits,
                id,
            },
            evicted,
            has_evicted,
        })
    }

    /// Ensures that one more connection of a group may be opened. `true` when another one was
    /// evicted for it.
    fn make_room(
        &self,
        connections: &mut Connections,
        group: NetworkGroup,
    ) -> Result<bool, ConnectionRefusal> {
        let reserved = if self.evicts {
            self.max_connections / RESERVED_FRACTION
        } else {
            0
        };
        let is_full = connections.open.len() >= self.max_connections;
        let is_over_share = group == NetworkGroup::Unknown
            && connections.open.of(NetworkGroup::Unknown) >= self.max_connections - reserved;
        if !is_full && !is_over_share {
            return Ok(false);
        }
        if !self.evicts {
            return Err(ConnectionRefusal::Total);
        }
        let now = self.clock.now();
        let known = connections.open.of(NetworkGroup::Known);
        let groups: &[NetworkGroup] = match group {
            NetworkGroup::Known => &[NetworkGroup::Unknown, NetworkGroup::Known],
            // Known networks have more than half of the connections.
            NetworkGroup::Unknown if known > self.max_connections / 2 => {
                &[NetworkGroup::Known, NetworkGroup::Unknown]
            }
            // The total is reached, so known networks have more than the reserved connections,
            // which are not evicted for unknown networks.
            NetworkGroup::Unknown if !is_over_share => {
                &[NetworkGroup::Unknown, NetworkGroup::Known]
            }
            NetworkGroup::Unknown => &[NetworkGroup::Unknown],
        };
        let mut groups = groups.iter();
        let evicted = groups.find_map(|group| connections.open.remove_idle(*group, now));
        let Some(evicted) = evicted else {
            return Err(ConnectionRefusal::Total);
        };
        if let Some(network) = evicted.network {
            connections.counts.remove(network);
        }
        connections.evicted += 1;
        // The connection may be closing already.
        let _ = evicted.evict.send(());
        Ok(true)
    }

    /// Marks the network of a connection as known.
    pub(crate) fn mark_known(&self, connection_id: u64) {
        let mut connections = self.lock();
        if let Some(Some(network)) = connections.open.make_known(connection_id) {
            connections.known_networks.insert(network, self.clock.now());
        }
    }

    /// Waits while too many evicted connections are not closed yet.
    pub(crate) async fn wait_for_evicted(&self) {
        loop {
            let closed = self.evicted_closed.notified();
            if self.lock().evicted <= MAX_EVICTED {
                return;
            }
            closed.await;
        }
    }

    /// The network that a connection counts against; `None` for a trusted proxy.
    fn network_of(&self, address: IpAddr) -> Option<Network> {
        let canonical = address.to_canonical();
        let mut proxies = self.trusted_proxies.iter();
        let is_proxy = proxies.any(|network| network.contains(&canonical));
        (!is_proxy).then(|| Network::of(address))
    }

    fn lock(&self) -> MutexGuard<'_, Connections> {
        self.connections
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for ConnectionPermit {
    fn drop(&mut self) {
        let mut connections = self.connection_limits.lock();
        match connections.open.remove(self.id) {
            Some((connection, group)) => {
                if let Some(network) = connection.network {
                    connections.counts.remove(network);
                    if group == NetworkGroup::Known {
                        let now = self.connection_limits.clock.now();
                        connections.known_networks.insert(network, now);
                    }
                }
            }
            // An evicted connection was removed from the counts when it was evicted.
            None => {
                connections.evicted -= 1;
                drop(connections);
                self.connection_limits.evicted_closed.notify_waiters();
            }
        }
    }
}

#[cfg(test)]
mod tests;
