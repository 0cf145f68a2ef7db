//! User agents are long strings that many sessions share.

use std::{
    collections::{HashMap, hash_map::Entry},
    sync::{Arc, Mutex},
};

use super::lock;

/// Each string once, for all shards, with the number of cached sessions that have it. Replies
/// in progress hold further copies, so the number of references to a string does not show
/// whether a session still has it.
#[derive(Clone, Default)]
pub(super) struct UserAgents(Arc<Mutex<HashMap<Arc<str>, usize>>>);

impl UserAgents {
    /// The shared copy of a string, for one more session.
    pub(super) fn share(&self, text: &Arc<str>) -> Arc<str> {
        match lock(&self.0).entry(Arc::clone(text)) {
            Entry::Occupied(mut shared) => {
                *shared.get_mut() += 1;
                Arc::clone(shared.key())
            }
            Entry::Vacant(new) => {
                new.insert(1);
                Arc::clone(text)
            }
        }
    }

    /// Returns the shared copy of one session; a string that no session has any more is
    /// dropped.
    pub(super) fn give_back(&self, text: &Arc<str>) {
        if let Entry::Occupied(mut shared) = lock(&self.0).entry(Arc::clone(text)) {
            *shared.get_mut() -= 1;
            if *shared.get() == 0 {
                shared.remove();
            }
        }
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        lock(&self.0).len()
    }
}
