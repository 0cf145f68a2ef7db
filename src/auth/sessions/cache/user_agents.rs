//! User agents: long texts, of which many sessions have the same few.

use std::{
    collections::HashSet,
    sync::{Arc, Mutex},
};

use super::lock;

/// Each text once, for all parts.
#[derive(Clone, Default)]
pub(super) struct UserAgents(Arc<Mutex<HashSet<Arc<str>>>>);

impl UserAgents {
    /// The one copy of a text.
    pub(super) fn share(&self, text: &Arc<str>) -> Arc<str> {
        let mut texts = lock(&self.0);
        if let Some(shared) = texts.get(text) {
            return Arc::clone(shared);
        }
        texts.insert(Arc::clone(text));
        Arc::clone(text)
    }

    /// Drops the texts that nobody has any more.
    pub(super) fn drop_unused(&self) {
        lock(&self.0).retain(|text| Arc::strong_count(text) > 1);
    }

    /// Drops a copy that was shared; the last one is nobody's any more.
    pub(super) fn give_back(&self, text: Arc<str>) {
        let mut texts = lock(&self.0);
        // This one and the table's.
        if Arc::strong_count(&text) <= 2 {
            texts.remove(&text);
        }
    }
}
