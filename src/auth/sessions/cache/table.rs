//! A hash table of small slots under random keys, in which a look-up takes one memory
//! access. A general hash table reads its metadata first.

/// The key: a part of a digest, which is as good as random.
pub(super) type Fingerprint = [u8; 8];

/// The smallest number of slots.
const LEAST: usize = 16;

/// A known session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Slot {
    pub(super) fingerprint: Fingerprint,
    pub(super) entry: EntryIndex,
}

/// The index of an entry, if there is one, in four bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct EntryIndex(u32);

impl EntryIndex {
    pub(super) const NONE: Self = Self(u32::MAX);

    /// Marks a free slot.
    const FREE: Self = Self(u32::MAX - 1);

    /// The largest number of entries.
    pub(super) const MOST: usize = Self::FREE.0 as usize;

    pub(super) fn new(index: usize) -> Self {
        debug_assert!(index < Self::MOST);
        Self(index as u32)
    }

    pub(super) fn get(self) -> Option<usize> {
        (self != Self::NONE).then_some(self.0 as usize)
    }
}

/// Open addressing with linear probing. At least a quarter of the slots is free, which
/// keeps probing short.
pub(super) struct Table {
    /// Its length is a power of two.
    slots: Vec<Slot>,
    taken: usize,
}

impl Table {
    pub(super) fn new() -> Self {
        Self::with_slots(LEAST)
    }

    fn with_slots(slots: usize) -> Self {
        let free = Slot {
            fingerprint: Fingerprint::default(),
            entry: EntryIndex::FREE,
        };
        Self {
            slots: vec![free; slots],
            taken: 0,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.taken
    }

    /// The first slot under a key that satisfies a predicate.
    #[inline]
    pub(super) fn find(
        &self,
        fingerprint: Fingerprint,
        is_it: impl Fn(&Slot) -> bool,
    ) -> Option<&Slot> {
        Some(&self.slots[self.index_of(fingerprint, is_it)?])
    }

    pub(super) fn find_mut(
        &mut self,
        fingerprint: Fingerprint,
        is_it: impl Fn(&Slot) -> bool,
    ) -> Option<&mut Slot> {
        let index = self.index_of(fingerprint, is_it)?;
        Some(&mut self.slots[index])
    }

    /// Adds a slot; there may be others under its key.
    pub(super) fn insert(&mut self, slot: Slot) {
        if (self.taken + 1) * 4 > self.slots.len() * 3 {
            let larger = Self::with_slots(self.slots.len() * 2);
            let slots = std::mem::replace(self, larger).slots;
            for slot in slots.into_iter().filter(|slot| !slot.is_free()) {
                self.insert(slot);
            }
        }
        let mut index = self.home(slot.fingerprint);
        while !self.slots[index].is_free() {
            index = self.after(index);
        }
        self.slots[index] = slot;
        self.taken += 1;
    }

    /// Removes the first slot under a key that satisfies a predicate.
    pub(super) fn remove(
        &mut self,
        fingerprint: Fingerprint,
        is_it: impl Fn(&Slot) -> bool,
    ) -> Option<Slot> {
        let mut gap = self.index_of(fingerprint, is_it)?;
        let removed = self.slots[gap];
        // Later slots of the same probe sequence move up.
        let mut index = self.after(gap);
        while !self.slots[index].is_free() {
            let home = self.home(self.slots[index].fingerprint);
            if self.distance(home, index) >= self.distance(gap, index) {
                self.slots[gap] = self.slots[index];
                gap = index;
            }
            index = self.after(index);
        }
        self.slots[gap].entry = EntryIndex::FREE;
        self.taken -= 1;
        Some(removed)
    }

    #[inline]
    fn index_of(&self, fingerprint: Fingerprint, is_it: impl Fn(&Slot) -> bool) -> Option<usize> {
        let mut index = self.home(fingerprint);
        loop {
            let slot = &self.slots[index];
            if slot.is_free() {
                return None;
            }
            if slot.fingerprint == fingerprint && is_it(slot) {
                return Some(index);
            }
            index = self.after(index);
        }
    }

    fn home(&self, fingerprint: Fingerprint) -> usize {
        u64::from_le_bytes(fingerprint) as usize & (self.slots.len() - 1)
    }

    fn after(&self, index: usize) -> usize {
        (index + 1) & (self.slots.len() - 1)
    }

    /// The number of steps from one slot forward to another.
    fn distance(&self, from: usize, to: usize) -> usize {
        to.wrapping_sub(from) & (self.slots.len() - 1)
    }
}

impl Slot {
    fn is_free(&self) -> bool {
        self.entry == EntryIndex::FREE
    }
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};

    use super::*;

    /// Keys of which many hash to the same few slots, at the end of the table too.
    fn fingerprint(key: u8) -> Fingerprint {
        let home = [0, 1, 2, 13, 15, 31, 63][usize::from(key) % 7];
        [home, 0, 0, 0, 0, 0, 0, key / 14]
    }

    proptest! {
        #[test]
        fn it_agrees_with_a_list(steps in vec((any::<u8>(), any::<bool>()), 1..300)) {
            let (mut table, mut list) = (Table::new(), Vec::new());
            for (index, (key, is_insert)) in steps.into_iter().enumerate() {
                if is_insert {
                    let entry = EntryIndex::new(index);
                    let slot = Slot { fingerprint: fingerprint(key), entry };
                    table.insert(slot);
                    list.push(slot);
                } else if let Some(gone) = list.get(usize::from(key)).copied() {
                    list.swap_remove(usize::from(key));
                    prop_assert_eq!(table.remove(gone.fingerprint, |slot| *slot == gone), Some(gone));
                    prop_assert_eq!(table.remove(gone.fingerprint, |slot| *slot == gone), None);
                }
                prop_assert_eq!(table.len(), list.len());
                for expected in &list {
                    let found = table.find(expected.fingerprint, |slot| slot == expected);
                    prop_assert_eq!(found, Some(expected));
                }
            }
        }
    }
}
