//! The uses of sessions that wait to be written to the database.

use std::sync::Mutex;

use chrono::{DateTime, Utc};

use super::lock;
use crate::domain::SessionDigest;

/// The largest number of uses that wait. Further uses are not recorded, and the next check of
/// such a session tries again.
pub(super) const MAX_SEEN: usize = 100_000;

/// Uses of sessions, each with its time.
pub(super) type SeenTimes = Vec<(SessionDigest, DateTime<Utc>)>;

#[derive(Default)]
pub(super) struct SeenQueue(Mutex<SeenTimes>);

impl SeenQueue {
    /// Adds a use; `false` without room for it.
    pub(super) fn push(&self, digest: SessionDigest, now: DateTime<Utc>) -> bool {
        let mut seen = lock(&self.0);
        let has_room = seen.len() < MAX_SEEN;
        if has_room {
            seen.push((digest, now));
        }
        has_room
    }

    pub(super) fn len(&self) -> usize {
        lock(&self.0).len()
    }

    /// Takes at most `most` uses.
    pub(super) fn take(&self, most: usize) -> SeenTimes {
        let mut seen = lock(&self.0);
        let rest = seen.len().saturating_sub(most);
        seen.split_off(rest)
    }

    /// Puts back uses that could not be written, even beyond the limit.
    pub(super) fn put_back(&self, seen: SeenTimes) {
        lock(&self.0).extend(seen);
    }
}
