//! Recent invalidations, so that a reading that began before one of them does not put
//! outdated sessions back into the cache.

use std::collections::{HashSet, VecDeque};

use crate::domain::{SessionDigest, UserId};

/// The number of invalidations that are remembered. A longer reading inserts no details.
const CAPACITY: usize = 4_096;

/// The start of a reading from the database, counted in invalidations.
#[derive(Clone, Copy, Debug)]
pub struct Reading(u64);

pub(super) enum Invalidation {
    /// A session has ended.
    SessionEnded(SessionDigest),
    /// A session may have ended, so its details are stale.
    DetailsStale(SessionDigest),
    /// The details of all sessions of a user are stale.
    UserStale(UserId),
    All,
}

#[derive(Default)]
pub(super) struct InvalidationLog {
    /// The number of invalidations so far.
    count: u64,
    /// The last invalidations, oldest first.
    entries: VecDeque<Invalidation>,
}

/// The invalidations during a reading.
#[derive(Default)]
pub(super) struct Invalidated {
    ended: HashSet<SessionDigest>,
    stale_sessions: HashSet<SessionDigest>,
    stale_users: HashSet<UserId>,
}

impl InvalidationLog {
    pub(super) fn begin_reading(&self) -> Reading {
        Reading(self.count)
    }

    pub(super) fn record(&mut self, invalidation: Invalidation) {
        if self.entries.len() == CAPACITY {
            self.entries.pop_front();
        }
        self.entries.push_back(invalidation);
        self.count += 1;
    }

    /// The invalidations since a reading began; `None` when they are no longer remembered
    /// or include all sessions.
    pub(super) fn invalidated_since(&self, reading: Reading) -> Option<Invalidated> {
        let count = usize::try_from(self.count - reading.0).ok()?;
        let skipped = self.entries.len().checked_sub(count)?;
        let mut since = Invalidated::default();
        for invalidation in self.entries.iter().skip(skipped) {
            match *invalidation {
                Invalidation::SessionEnded(digest) => {
                    since.ended.insert(digest);
                }
                Invalidation::DetailsStale(digest) => {
                    since.stale_sessions.insert(digest);
                }
                Invalidation::UserStale(user_id) => {
                    since.stale_users.insert(user_id);
                }
                Invalidation::All => return None,
            }
        }
        Some(since)
    }
}

impl Invalidated {
    pub(super) fn has_ended(&self, digest: SessionDigest) -> bool {
        self.ended.contains(&digest)
    }

    /// Whether the details that were read of a session may be outdated.
    pub(super) fn is_stale(&self, digest: SessionDigest, user_id: UserId) -> bool {
        self.stale_sessions.contains(&digest) || self.stale_users.contains(&user_id)
    }
}
