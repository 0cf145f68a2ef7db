//! What was forgotten a moment ago, so that nobody who had read it before puts it
//! back.

use std::collections::{HashSet, VecDeque};

use crate::domain::{SessionDigest, UserId};

/// How many of the last are remembered. Who has been reading for longer than that
/// keeps nothing of what was read.
const REMEMBERED: usize = 4_096;

/// A moment before sessions were read from the database.
#[derive(Clone, Copy, Debug)]
pub struct Reading(u64);

pub(super) enum Forgotten {
    /// A session that has ended.
    Ended(SessionDigest),
    /// The details of a session that may have.
    Released(SessionDigest),
    /// The details of a user's.
    User(UserId),
    Everything,
}

#[derive(Default)]
pub(super) struct Recent {
    /// How many there have been in all.
    count: u64,
    last: VecDeque<Forgotten>,
}

/// What was forgotten during a reading.
#[derive(Default)]
pub(super) struct Since {
    ended: HashSet<SessionDigest>,
    released: HashSet<SessionDigest>,
    users: HashSet<UserId>,
}

impl Recent {
    pub(super) fn begin_reading(&self) -> Reading {
        Reading(self.count)
    }

    pub(super) fn forget(&mut self, what: Forgotten) {
        if self.last.len() == REMEMBERED {
            self.last.pop_front();
        }
        self.last.push_back(what);
        self.count += 1;
    }

    /// What has been forgotten since; `None` where that is not known any more, or is
    /// everything.
    pub(super) fn since(&self, reading: Reading) -> Option<Since> {
        let count = usize::try_from(self.count - reading.0).ok()?;
        let skipped = self.last.len().checked_sub(count)?;
        let mut since = Since::default();
        for forgotten in self.last.iter().skip(skipped) {
            match *forgotten {
                Forgotten::Ended(digest) => {
                    since.ended.insert(digest);
                }
                Forgotten::Released(digest) => {
                    since.released.insert(digest);
                }
                Forgotten::User(user_id) => {
                    since.users.insert(user_id);
                }
                Forgotten::Everything => return None,
            }
        }
        Some(since)
    }
}

impl Since {
    pub(super) fn has_ended(&self, digest: SessionDigest) -> bool {
        self.ended.contains(&digest)
    }

    /// Whether what was read of a session may not be so any more.
    pub(super) fn is_in_doubt(&self, digest: SessionDigest, user_id: UserId) -> bool {
        self.released.contains(&digest) || self.users.contains(&user_id)
    }
}
