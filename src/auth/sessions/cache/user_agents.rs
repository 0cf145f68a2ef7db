//! User agents are long strings that many sessions share.

use std::{
    collections::HashSet,
    sync::{Arc, Mutex},
};

use super::lock;

/// Each string once, for all shards.
#[derive(Clone, Default)]
pub(super) struct UserAgents(Arc<Mutex<HashSet<Arc<str>>>>);

impl UserAgents {
    /// The shared copy of a string.
    pub(super) fn share(&self, text: &Arc<str>) -> Arc<str> {
        let mut texts = lock(&self.0);
        if let Some(shared) = texts.get(text) {
            return Arc::clone(shared);
        }
        texts.insert(Arc::clone(text));
        Arc::clone(text)
    }

    /// Drops strings that no session has any more.
    pub(super) fn drop_unused(&self) {
        lock(&self.0).retain(|text| Arc::strong_count(text) > 1);
    }

    /// Returns a shared copy, and drops the string with its last copy.
    pub(super) fn give_back(&self, text: Arc<str>) {
        let mut texts = lock(&self.0);
        // The argument and the set hold one each.
        if Arc::strong_count(&text) <= 2 {
            texts.remove(&text);
        }
    }
}
