//! A part of the index: a table of all sessions, and records of some.

use std::collections::HashSet;

use chrono::{DateTime, Utc};

use super::{
    chunked_vec::Chunks,
    record::Record,
    table::{Fingerprint, RecordPlace, Slot, Table},
    user_agents::UserAgents,
};
use crate::domain::{Session, SessionDigest, SessionOwner, UserId};

/// The part of a digest that stands in the table.
fn fingerprint(digest: SessionDigest) -> Fingerprint {
    let mut fingerprint = Fingerprint::default();
    fingerprint.copy_from_slice(&digest.as_bytes()[..8]);
    fingerprint
}

/// What a part knows of a session.
pub(super) enum Fit<'a> {
    Held(&'a mut Record),
    Known,
    Nothing,
}

pub(super) struct Shard {
    slots: Table,
    records: Chunks<Record>,
    user_agents: UserAgents,
    most: usize,
    /// Where the search for a record to give up goes on.
    hand: usize,
}

impl Shard {
    pub(super) fn new(most: usize, user_agents: UserAgents) -> Self {
        Self {
            slots: Table::new(),
            records: Chunks::new(),
            user_agents,
            most: most.min(RecordPlace::MOST),
            hand: 0,
        }
    }

    pub(super) fn look_up(&mut self, digest: SessionDigest) -> Fit<'_> {
        let Some(slot) = self.find(digest) else {
            return Fit::Nothing;
        };
        let Some(place) = slot.record.get() else {
            return Fit::Known;
        };
        let record = &mut self.records[place];
        record.fetch();
        record.is_used = true;
        Fit::Held(record)
    }

    /// The same of several. A look into memory that no cache holds takes as long as
    /// hundreds of instructions; those that do not depend on each other are under way
    /// at once, as long as nothing between them is atomic. So: first all slots, then
    /// all records, and what is shared only then.
    pub(super) fn look_up_many<T: Copy>(
        &mut self,
        asked: impl Iterator<Item = (T, SessionDigest)> + Clone,
        mut take: impl FnMut(T, Fit<'_>),
    ) {
        let slots: Vec<Option<RecordPlace>> = asked
            .clone()
            .map(|(_, digest)| {
                let slot = self.slots.find(fingerprint(digest), |_| true);
                slot.map(|slot| slot.record)
            })
            .collect();
        for place in slots.iter().flatten().filter_map(|place| place.get()) {
            self.records[place].fetch();
        }
        for ((name, digest), slot) in asked.zip(slots) {
            let fit = match slot.map(RecordPlace::get) {
                None => Fit::Nothing,
                Some(None) => Fit::Known,
                Some(Some(place)) if self.records[place].digest == digest => {
                    let record = &mut self.records[place];
                    record.is_used = true;
                    Fit::Held(record)
                }
                // Another's, with the same fingerprint.
                Some(Some(_)) => self.look_up(digest),
            };
            take(name, fit);
        }
    }

    pub(super) fn knows(&self, digest: SessionDigest) -> bool {
        self.find(digest).is_some()
    }

    /// Notes a session; whether that is news.
    pub(super) fn note(&mut self, digest: SessionDigest) -> bool {
        let is_news = !self.knows(digest);
        if is_news {
            self.slots.insert(Slot {
                fingerprint: fingerprint(digest),
                record: RecordPlace::NONE,
            });
        }
        is_news
    }

    /// Holds the details of a session that was noted, in the place of another's
    /// where there is no room.
    pub(super) fn hold(&mut self, digest: SessionDigest, session: &Session, owner: &SessionOwner) {
        if self.most == 0 {
            return;
        }
        // A use that has not been written yet is missing in what was read.
        let used = self.last_seen_at(digest);
        self.release(digest);
        if self.records.len() >= self.most {
            self.release_one();
        }
        let place = RecordPlace::new(self.records.len());
        if let Some(slot) = self.find_mut(digest) {
            slot.record = place;
            let user_agent = self.user_agents.share(session.client.user_agent());
            let mut record = Record::new(digest, session, owner, user_agent);
            if let Some(used) = used {
                record.touch(used);
            }
            self.records.push(record);
        }
    }

    /// Forgets a session; whether it was known.
    pub(super) fn end(&mut self, digest: SessionDigest) -> bool {
        let (fingerprint, records) = (fingerprint(digest), &self.records);
        let removed = self
            .slots
            .remove(fingerprint, |slot| is_of(slot, digest, records));
        let Some(slot) = removed else {
            return false;
        };
        if let Some(place) = slot.record.get() {
            self.remove_record(place);
        }
        true
    }

    /// Forgets the details of a session.
    pub(super) fn release(&mut self, digest: SessionDigest) {
        let Some(slot) = self.find_mut(digest) else {
            return;
        };
        if let Some(place) = std::mem::replace(&mut slot.record, RecordPlace::NONE).get() {
            self.remove_record(place);
        }
    }

    /// Forgets the details of some users' sessions.
    pub(super) fn release_of(&mut self, users: &HashSet<UserId>) {
        // From the end, since the last one takes the place of one that goes.
        for place in (0..self.records.len()).rev() {
            if users.contains(&self.records[place].user_id()) {
                self.release_at(place);
            }
        }
    }

    /// Forgets everything; returns how many sessions that were.
    pub(super) fn clear(&mut self) -> usize {
        let known = self.slots.len();
        *self = Self::new(self.most, self.user_agents.clone());
        known
    }

    pub(super) fn has_room(&self) -> bool {
        self.records.len() < self.most
    }

    pub(super) fn last_seen_at(&self, digest: SessionDigest) -> Option<DateTime<Utc>> {
        let place = self.find(digest)?.record.get()?;
        Some(self.records[place].last_seen_at())
    }

    pub(super) fn touch(&mut self, digest: SessionDigest, now: DateTime<Utc>) {
        if let Some(place) = self.find(digest).and_then(|slot| slot.record.get()) {
            self.records[place].touch(now);
        }
    }

    /// Gives up a record that was not used since the hand came by last (CLOCK, the
    /// second chance).
    fn release_one(&mut self) {
        loop {
            self.hand = (self.hand + 1) % self.records.len();
            let record = &mut self.records[self.hand];
            if !std::mem::take(&mut record.is_used) {
                return self.release_at(self.hand);
            }
        }
    }

    fn release_at(&mut self, place: usize) {
        if let Some(slot) = self.slot_of_record(place) {
            slot.record = RecordPlace::NONE;
        }
        self.remove_record(place);
    }

    /// The last record takes the place of the one that goes.
    fn remove_record(&mut self, place: usize) {
        let last = self.records.len() - 1;
        if place != last
            && let Some(slot) = self.slot_of_record(last)
        {
            slot.record = RecordPlace::new(place);
        }
        if let Some(record) = self.records.swap_remove(place) {
            self.user_agents.give_back(record.user_agent);
        }
    }

    fn slot_of_record(&mut self, place: usize) -> Option<&mut Slot> {
        let found = RecordPlace::new(place);
        let fingerprint = fingerprint(self.records[place].digest);
        self.slots
            .find_mut(fingerprint, |slot| slot.record == found)
    }

    fn find(&self, digest: SessionDigest) -> Option<&Slot> {
        self.slots.find(fingerprint(digest), |slot| {
            is_of(slot, digest, &self.records)
        })
    }

    fn find_mut(&mut self, digest: SessionDigest) -> Option<&mut Slot> {
        self.slots.find_mut(fingerprint(digest), |slot| {
            is_of(slot, digest, &self.records)
        })
    }
}

/// Whether what stands under a digest's fingerprint is of that digest. Of a session that
/// is known by its fingerprint alone, another whose digest begins with the same eight bytes
/// cannot be told.
fn is_of(slot: &Slot, digest: SessionDigest, records: &Chunks<Record>) -> bool {
    let record = slot.record.get();
    record.is_none_or(|place| records[place].digest == digest)
}
