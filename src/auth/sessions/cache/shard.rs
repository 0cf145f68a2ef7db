//! A shard of the cache: a table of all its sessions, and the details of some.

use std::collections::HashSet;

use chrono::{DateTime, Utc};

use super::{
    chunked_vec::ChunkedVec,
    entry::Entry,
    table::{EntryIndex, Fingerprint, Slot, Table},
    user_agents::UserAgents,
};
use crate::domain::{Session, SessionDigest, SessionOwner, UserId};

/// The part of a digest stored in the table.
fn fingerprint(digest: SessionDigest) -> Fingerprint {
    let mut fingerprint = Fingerprint::default();
    fingerprint.copy_from_slice(&digest.as_bytes()[..8]);
    fingerprint
}

/// The result of a look-up in one shard.
pub(super) enum ShardLookup<'a> {
    Cached(&'a mut Entry),
    Known,
    Absent,
}

pub(super) struct Shard {
    slots: Table,
    entries: ChunkedVec<Entry>,
    user_agents: UserAgents,
    most: usize,
    /// The CLOCK hand, where the search for an entry to evict continues.
    hand: usize,
}

impl Shard {
    pub(super) fn new(most: usize, user_agents: UserAgents) -> Self {
        Self {
            slots: Table::new(),
            entries: ChunkedVec::new(),
            user_agents,
            most: most.min(EntryIndex::MOST),
            hand: 0,
        }
    }

    pub(super) fn look_up(&mut self, digest: SessionDigest) -> ShardLookup<'_> {
        let Some(slot) = self.find(digest) else {
            return ShardLookup::Absent;
        };
        let Some(index) = slot.entry.get() else {
            return ShardLookup::Known;
        };
        let entry = &mut self.entries[index];
        entry.fetch();
        entry.is_used = true;
        ShardLookup::Cached(entry)
    }

    /// Looks up several sessions. A memory access that misses all caches takes as long as
    /// hundreds of instructions; independent accesses overlap unless an atomic operation
    /// stands between them. So all slots are read first, then all entries, and shared data
    /// last.
    pub(super) fn look_up_many<T: Copy>(
        &mut self,
        asked: impl Iterator<Item = (T, SessionDigest)> + Clone,
        mut evaluate: impl FnMut(T, ShardLookup<'_>),
    ) {
        let slots: Vec<Option<EntryIndex>> = asked
            .clone()
            .map(|(_, digest)| {
                let slot = self.slots.find(fingerprint(digest), |_| true);
                slot.map(|slot| slot.entry)
            })
            .collect();
        for index in slots.iter().flatten().filter_map(|index| index.get()) {
            self.entries[index].fetch();
        }
        for ((name, digest), slot) in asked.zip(slots) {
            let lookup = match slot.map(EntryIndex::get) {
                None => ShardLookup::Absent,
                Some(None) => ShardLookup::Known,
                Some(Some(index)) if self.entries[index].digest == digest => {
                    let entry = &mut self.entries[index];
                    entry.is_used = true;
                    ShardLookup::Cached(entry)
                }
                // The entry of another digest with the same fingerprint.
                Some(Some(_)) => self.look_up(digest),
            };
            evaluate(name, lookup);
        }
    }

    pub(super) fn contains(&self, digest: SessionDigest) -> bool {
        self.find(digest).is_some()
    }

    /// Inserts a digest; `false` if it was known.
    pub(super) fn insert_known(&mut self, digest: SessionDigest) -> bool {
        let is_new = !self.contains(digest);
        if is_new {
            self.slots.insert(Slot {
                fingerprint: fingerprint(digest),
                entry: EntryIndex::NONE,
            });
        }
        is_new
    }

    /// Caches the details of a known session. Without room they replace those of another
    /// session.
    pub(super) fn insert_details(
        &mut self,
        digest: SessionDigest,
        session: &Session,
        owner: &SessionOwner,
    ) {
        if self.most == 0 {
            return;
        }
        // Unwritten uses are missing from the database.
        let used = self.last_seen_at(digest);
        self.drop_details(digest);
        if self.entries.len() >= self.most {
            self.evict();
        }
        let index = EntryIndex::new(self.entries.len());
        if let Some(slot) = self.find_mut(digest) {
            slot.entry = index;
            let user_agent = self.user_agents.share(session.client.user_agent());
            let mut entry = Entry::new(digest, session, owner, user_agent);
            if let Some(used) = used {
                entry.mark_seen(used);
            }
            self.entries.push(entry);
        }
    }

    /// Removes a session; `false` if it was unknown.
    pub(super) fn remove(&mut self, digest: SessionDigest) -> bool {
        let (fingerprint, entries) = (fingerprint(digest), &self.entries);
        let removed = self
            .slots
            .remove(fingerprint, |slot| is_of(slot, digest, entries));
        let Some(slot) = removed else {
            return false;
        };
        if let Some(index) = slot.entry.get() {
            self.remove_entry(index);
        }
        true
    }

    /// Drops the details of a session.
    pub(super) fn drop_details(&mut self, digest: SessionDigest) {
        let Some(slot) = self.find_mut(digest) else {
            return;
        };
        if let Some(index) = std::mem::replace(&mut slot.entry, EntryIndex::NONE).get() {
            self.remove_entry(index);
        }
    }

    /// Drops the details of the sessions of some users.
    pub(super) fn drop_details_of(&mut self, users: &HashSet<UserId>) {
        // From the end, since the last entry takes the place of a removed one.
        for index in (0..self.entries.len()).rev() {
            if users.contains(&self.entries[index].user_id()) {
                self.drop_details_at(index);
            }
        }
    }

    /// Removes everything, and returns the number of sessions.
    pub(super) fn clear(&mut self) -> usize {
        let known = self.slots.len();
        while let Some(entry) = self.entries.pop() {
            self.user_agents.give_back(&entry.user_agent);
        }
        *self = Self::new(self.most, self.user_agents.clone());
        known
    }

    #[cfg(test)]
    pub(super) fn user_agent_count(&self) -> usize {
        self.user_agents.len()
    }

    pub(super) fn has_room(&self) -> bool {
        self.entries.len() < self.most
    }

    pub(super) fn last_seen_at(&self, digest: SessionDigest) -> Option<DateTime<Utc>> {
        let index = self.find(digest)?.entry.get()?;
        Some(self.entries[index].last_seen_at())
    }

    pub(super) fn mark_seen(&mut self, digest: SessionDigest, now: DateTime<Utc>) {
        if let Some(index) = self.find(digest).and_then(|slot| slot.entry.get()) {
            self.entries[index].mark_seen(now);
        }
    }

    /// Evicts an entry not used since the hand last passed it (the CLOCK
    /// algorithm).
    fn evict(&mut self) {
        loop {
            self.hand = (self.hand + 1) % self.entries.len();
            let entry = &mut self.entries[self.hand];
            if !std::mem::take(&mut entry.is_used) {
                return self.drop_details_at(self.hand);
            }
        }
    }

    fn drop_details_at(&mut self, index: usize) {
        if let Some(slot) = self.slot_of_entry(index) {
            slot.entry = EntryIndex::NONE;
        }
        self.remove_entry(index);
    }

    /// Removes an entry; the last one takes its place.
    fn remove_entry(&mut self, index: usize) {
        let last = self.entries.len() - 1;
        if index != last
            && let Some(slot) = self.slot_of_entry(last)
        {
            slot.entry = EntryIndex::new(index);
        }
        if let Some(entry) = self.entries.swap_remove(index) {
            self.user_agents.give_back(&entry.user_agent);
        }
    }

    fn slot_of_entry(&mut self, index: usize) -> Option<&mut Slot> {
        let found = EntryIndex::new(index);
        let fingerprint = fingerprint(self.entries[index].digest);
        self.slots.find_mut(fingerprint, |slot| slot.entry == found)
    }

    fn find(&self, digest: SessionDigest) -> Option<&Slot> {
        self.slots.find(fingerprint(digest), |slot| {
            is_of(slot, digest, &self.entries)
        })
    }

    fn find_mut(&mut self, digest: SessionDigest) -> Option<&mut Slot> {
        self.slots.find_mut(fingerprint(digest), |slot| {
            is_of(slot, digest, &self.entries)
        })
    }
}

/// Whether a slot belongs to a digest. A session without details is known by its
/// fingerprint alone, and cannot be told from another whose digest begins with the same
/// eight bytes.
fn is_of(slot: &Slot, digest: SessionDigest, entries: &ChunkedVec<Entry>) -> bool {
    let entry = slot.entry.get();
    entry.is_none_or(|index| entries[index].digest == digest)
}
