//! The open connections, ordered by their last use.

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
};

use tokio::sync::oneshot;

use crate::{domain::Network, peer::Traffic};

/// The limit on connections examined to find an idle one, which bounds the cost of a new
/// connection. Each examined in vain was used since it was last examined.
const MAX_EXAMINED: usize = 64;

/// The group of a connection's network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NetworkGroup {
    /// Networks with known callers, and trusted proxies.
    Known,
    /// All other networks.
    Unknown,
}

/// An open connection.
pub(super) struct OpenConnection {
    /// The network that the connection counts against; `None` for a trusted proxy.
    pub(super) network: Option<Network>,
    pub(super) traffic: Arc<Traffic>,
    /// The signal to close.
    pub(super) evict: oneshot::Sender<()>,
}

struct Entry {
    connection: OpenConnection,
    group: NetworkGroup,
    /// The key in the order: the last use, as of the last examination.
    last_use: u32,
}

#[derive(Default)]
pub(super) struct OpenConnections {
    entries: HashMap<u64, Entry>,
    next_id: u64,
    /// Ordered by [`Entry::last_use`], then by id.
    known: BTreeSet<(u32, u64)>,
    unknown: BTreeSet<(u32, u64)>,
}

impl OpenConnections {
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(super) fn of(&self, group: NetworkGroup) -> usize {
        match group {
            NetworkGroup::Known => self.known.len(),
            NetworkGroup::Unknown => self.unknown.len(),
        }
    }

    fn order(&mut self, group: NetworkGroup) -> &mut BTreeSet<(u32, u64)> {
        match group {
            NetworkGroup::Known => &mut self.known,
            NetworkGroup::Unknown => &mut self.unknown,
        }
    }

    /// Adds a connection and returns its id.
    pub(super) fn add(&mut self, connection: OpenConnection, group: NetworkGroup, now: u32) -> u64 {
        let id = self.next_id;
        self.next_id += 1;
        self.order(group).insert((now, id));
        let entry = Entry {
            connection,
            group,
            last_use: now,
        };
        self.entries.insert(id, entry);
        id
    }

    pub(super) fn remove(&mut self, id: u64) -> Option<(OpenConnection, NetworkGroup)> {
        let entry = self.entries.remove(&id)?;
        self.order(entry.group).remove(&(entry.last_use, id));
        Some((entry.connection, entry.group))
    }

    /// Moves a connection to the known group, and returns its network.
    pub(super) fn make_known(&mut self, id: u64) -> Option<Option<Network>> {
        let entry = self.entries.get_mut(&id)?;
        let (group, key) = (entry.group, (entry.last_use, id));
        entry.group = NetworkGroup::Known;
        let network = entry.connection.network;
        self.order(group).remove(&key);
        self.known.insert(key);
        Some(network)
    }

    /// Removes the connection of a group with the longest idle time; `None` if all are busy.
    pub(super) fn remove_idle(&mut self, group: NetworkGroup, now: u32) -> Option<OpenConnection> {
        for _ in 0..MAX_EXAMINED {
            let (last_use, id) = self.order(group).first().copied()?;
            if last_use > now {
                // This connection and all after it were busy when examined at this tick.
                return None;
            }
            let entry = self.entries.get_mut(&id)?;
            let traffic = &entry.connection.traffic;
            let current_use = match traffic.is_busy() {
                true => now + 1,
                false => traffic.last_request(),
            };
            if current_use <= last_use {
                return self.remove(id).map(|(connection, _)| connection);
            }
            entry.last_use = current_use;
            let order = self.order(group);
            order.remove(&(last_use, id));
            order.insert((current_use, id));
        }
        None
    }
}
