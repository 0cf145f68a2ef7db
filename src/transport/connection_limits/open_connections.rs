//! The connections that are open, in the order in which they became idle.

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
};

use tokio::sync::oneshot;

use crate::{domain::Network, peer::Traffic};

/// The most connections that are looked at for one that is idle, so that a new one
/// never costs much. Each that is looked at in vain was used since the last look.
const LOOKS: usize = 64;

/// Who a connection belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Group {
    /// Networks from which the service was used with success, and trusted proxies.
    Known,
    /// All others.
    Unknown,
}

/// A connection that is open.
pub(super) struct Connected {
    /// The network that it counts against.
    pub(super) network: Option<Network>,
    pub(super) traffic: Arc<Traffic>,
    /// Tells it to end.
    pub(super) evict: oneshot::Sender<()>,
}

struct Entry {
    connected: Connected,
    group: Group,
    /// Under what it is found in the order: the last use that was looked at.
    seen: u32,
}

#[derive(Default)]
pub(super) struct OpenConnections {
    entries: HashMap<u64, Entry>,
    next_id: u64,
    /// By their last use as far as that was looked at, and then by their age.
    known: BTreeSet<(u32, u64)>,
    unknown: BTreeSet<(u32, u64)>,
}

impl OpenConnections {
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(super) fn of(&self, group: Group) -> usize {
        match group {
            Group::Known => self.known.len(),
            Group::Unknown => self.unknown.len(),
        }
    }

    fn order(&mut self, group: Group) -> &mut BTreeSet<(u32, u64)> {
        match group {
            Group::Known => &mut self.known,
            Group::Unknown => &mut self.unknown,
        }
    }

    /// Adds a connection and returns its number.
    pub(super) fn add(&mut self, connected: Connected, group: Group, now: u32) -> u64 {
        let id = self.next_id;
        self.next_id += 1;
        self.order(group).insert((now, id));
        let entry = Entry {
            connected,
            group,
            seen: now,
        };
        self.entries.insert(id, entry);
        id
    }

    pub(super) fn remove(&mut self, id: u64) -> Option<(Connected, Group)> {
        let entry = self.entries.remove(&id)?;
        self.order(entry.group).remove(&(entry.seen, id));
        Some((entry.connected, entry.group))
    }

    /// Moves a connection to the known ones, and returns its network.
    pub(super) fn make_known(&mut self, id: u64) -> Option<Option<Network>> {
        let entry = self.entries.get_mut(&id)?;
        let (group, key) = (entry.group, (entry.seen, id));
        entry.group = Group::Known;
        let network = entry.connected.network;
        self.order(group).remove(&key);
        self.known.insert(key);
        Some(network)
    }

    /// Removes the connection of a group that has been idle longest, if one is idle.
    pub(super) fn take_idle(&mut self, group: Group, now: u32) -> Option<Connected> {
        for _ in 0..LOOKS {
            let (seen, id) = self.order(group).first().copied()?;
            if seen > now {
                // It was busy when it was looked at just now, and so were all behind it.
                return None;
            }
            let entry = self.entries.get_mut(&id)?;
            let traffic = &entry.connected.traffic;
            let used = match traffic.is_busy() {
                true => now + 1,
                false => traffic.last_request(),
            };
            if used <= seen {
                return self.remove(id).map(|(connected, _)| connected);
            }
            entry.seen = used;
            let order = self.order(group);
            order.remove(&(seen, id));
            order.insert((used, id));
        }
        None
    }
}
