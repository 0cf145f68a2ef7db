//! The session cache: an in-memory index of all sessions, which answers checks without a
//! query. It knows the digest of every session, and the details of as many sessions as its
//! size allows.
//!
//! It is told which sessions end. Whether its answers may be used at all is decided by
//! [`freshness`](crate::auth::sessions::freshness).

mod chunked_vec;
mod entry;
mod invalidation_log;
mod seen_queue;
mod shard;
mod stale_users;
mod table;
mod user_agents;

#[cfg(test)]
mod tests;

use std::sync::{
    Arc, Mutex, MutexGuard, PoisonError,
    atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
};

use chrono::{DateTime, Utc};

pub use self::invalidation_log::Reading;
use self::{
    entry::Entry,
    invalidation_log::{Invalidation, InvalidationLog},
    seen_queue::{SeenQueue, SeenTimes},
    shard::{Shard, ShardLookup},
    stale_users::StaleUsers,
    user_agents::UserAgents,
};
use crate::domain::{Session, SessionDigest, SessionOwner, SessionTimes, UserId};

/// The largest number of shards. Each has a lock of its own, so that concurrent look-ups
/// rarely wait for each other.
const MAX_SHARDS: usize = 16;

/// The smallest number of sessions that justifies another shard.
const MIN_PER_SHARD: usize = 1_024;

/// The number of digests that the cache may know for each session whose details it may
/// hold.
const KNOWN_PER_CACHED: usize = 16;

/// The smallest limit on known digests.
const MIN_KNOWN_LIMIT: usize = 1_000_000;

/// The result of a look-up.
pub enum Lookup<'a> {
    /// The details of the session.
    Cached(Cached<'a>),
    /// The session exists or may exist: ask the database.
    Known,
    /// The session does not exist.
    Absent,
}

/// The details of a session, under the lock of their shard.
pub struct Cached<'a> {
    entry: &'a mut Entry,
    seen: &'a SeenQueue,
}

/// The result of a load.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Completion {
    /// A digest absent from the cache does not exist.
    Complete,
    /// There are more sessions than the cache can know.
    NoRoom,
    /// The cache was cleared in the meantime, for another load.
    Superseded,
}

/// The session cache. Clones share it and are cheap.
#[derive(Clone)]
pub struct SessionCache(Arc<Inner>);

struct Inner {
    shards: Box<[Mutex<Shard>]>,
    max_known: usize,
    known: AtomicUsize,
    /// Whether a digest absent from the cache does not exist.
    is_complete: AtomicBool,
    /// Whether a digest has been left out, for lack of room, since the cache was cleared. The
    /// end of another session does not make up for it.
    has_overflowed: AtomicBool,
    /// The number of the current load.
    generation: AtomicU64,
    invalidations: Mutex<InvalidationLog>,
    stale_users: StaleUsers,
    seen: SeenQueue,
}

impl SessionCache {
    /// An empty cache for the details of at most `most` sessions.
    pub fn new(most: usize) -> Self {
        let shards = (most / MIN_PER_SHARD)
            .clamp(1, MAX_SHARDS)
            .next_power_of_two();
        let most_per_shard = most.div_ceil(shards);
        let user_agents = UserAgents::default();
        Self(Arc::new(Inner {
            shards: (0..shards)
                .map(|_| Mutex::new(Shard::new(most_per_shard, user_agents.clone())))
                .collect(),
            max_known: most.saturating_mul(KNOWN_PER_CACHED).max(MIN_KNOWN_LIMIT),
            known: AtomicUsize::new(0),
            is_complete: AtomicBool::new(false),
            has_overflowed: AtomicBool::new(false),
            generation: AtomicU64::new(0),
            invalidations: Mutex::default(),
            stale_users: StaleUsers::default(),
            seen: SeenQueue::default(),
        }))
    }

    /// Looks up a session and passes the result to `evaluate`, which must not use the cache: a
    /// shard is locked.
    pub fn look_up<T>(&self, digest: SessionDigest, evaluate: impl FnOnce(Lookup<'_>) -> T) -> T {
        // Read before the look-up and again after it, since the cache may be completed or
        // cleared in the meantime.
        let was_complete = self.0.is_complete.load(Ordering::SeqCst);
        let mut shard = self.shard(digest);
        evaluate(self.found(shard.look_up(digest), was_complete))
    }

    /// Looks up several sessions, shard by shard, and passes each result with its index in
    /// `digests`.
    pub fn look_up_many(
        &self,
        digests: &[SessionDigest],
        mut evaluate: impl FnMut(usize, Lookup<'_>),
    ) {
        let was_complete = self.0.is_complete.load(Ordering::SeqCst);
        // The shard in the upper half, the index in the lower: integers are sorted fastest.
        let mut order: Vec<u64> = (0..)
            .zip(digests)
            .map(|(index, digest)| (self.shard_of(*digest) as u64) << 32 | index)
            .collect();
        order.sort_unstable();
        for group in order.chunk_by(|one, other| one >> 32 == other >> 32) {
            let mut shard = lock(&self.0.shards[(group[0] >> 32) as usize]);
            let indices = group.iter().map(|ordered| *ordered as u32 as usize);
            let asked = indices.map(|index| (index, digests[index]));
            shard.look_up_many(asked, |index, lookup| {
                evaluate(index, self.found(lookup, was_complete))
            });
        }
    }

    #[inline]
    fn found<'a>(&'a self, lookup: ShardLookup<'a>, was_complete: bool) -> Lookup<'a> {
        match lookup {
            ShardLookup::Cached(entry) if !self.0.stale_users.contains(entry.user_id()) => {
                Lookup::Cached(Cached {
                    entry,
                    seen: &self.0.seen,
                })
            }
            ShardLookup::Cached(_) | ShardLookup::Known => Lookup::Known,
            ShardLookup::Absent if was_complete && self.0.is_complete.load(Ordering::SeqCst) => {
                Lookup::Absent
            }
            ShardLookup::Absent => Lookup::Known,
        }
    }

    /// Starts a reading. To be called before sessions are read from the database and
    /// [inserted](Self::insert): sessions that are invalidated in the meantime are not
    /// inserted.
    pub fn begin_reading(&self) -> Reading {
        lock(&self.0.invalidations).begin_reading()
    }

    /// Inserts the details of sessions as far as there is room. Of sessions that may have
    /// changed during the reading, only the digest is inserted.
    pub fn insert(
        &self,
        reading: Reading,
        sessions: impl IntoIterator<Item = (SessionDigest, Session, SessionOwner)>,
    ) {
        self.insert_if(reading, sessions, |_, _| true);
    }

    /// Inserts a session looked up for a check. If the cache is complete and does
    /// not know the digest, another check may just have been refused for that reason. Then
    /// only the digest is inserted, and the next check reads the session again instead of
    /// being answered from before that refusal.
    pub fn insert_looked_up(
        &self,
        reading: Reading,
        digest: SessionDigest,
        session: Session,
        owner: SessionOwner,
    ) {
        let is_complete = self.0.is_complete.load(Ordering::SeqCst);
        let sessions = [(digest, session, owner)];
        self.insert_if(reading, sessions, |shard, digest| {
            !is_complete || shard.contains(digest)
        });
    }

    fn insert_if(
        &self,
        reading: Reading,
        sessions: impl IntoIterator<Item = (SessionDigest, Session, SessionOwner)>,
        may_cache: impl Fn(&Shard, SessionDigest) -> bool,
    ) {
        // Locked until all are inserted: a later invalidation finds them.
        let invalidations = lock(&self.0.invalidations);
        let since = invalidations.invalidated_since(reading);
        for (digest, session, owner) in sessions {
            let is_sure = match &since {
                Some(since) if since.has_ended(digest) => continue,
                Some(since) => {
                    !since.is_stale(digest, owner.id) && !self.0.stale_users.contains(owner.id)
                }
                None => false,
            };
            let mut shard = self.shard(digest);
            let is_sure = is_sure && may_cache(&shard, digest);
            if self.add_known(&mut shard, digest) && is_sure {
                shard.insert_details(digest, &session, &owner);
            }
        }
    }

    /// Inserts the digests of sessions without their details.
    pub fn insert_known(
        &self,
        reading: Reading,
        sessions: impl IntoIterator<Item = SessionDigest>,
    ) {
        let invalidations = lock(&self.0.invalidations);
        let since = invalidations.invalidated_since(reading);
        let has_ended = |digest| since.as_ref().is_some_and(|since| since.has_ended(digest));
        for digest in sessions {
            if !has_ended(digest) {
                self.add_known(&mut self.shard(digest), digest);
            }
        }
    }

    /// Removes an ended session.
    pub fn remove(&self, digest: SessionDigest) {
        lock(&self.0.invalidations).record(Invalidation::SessionEnded(digest));
        if self.shard(digest).remove(digest) {
            self.0.known.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// Drops the details of a session that may have ended.
    pub fn drop_details(&self, digest: SessionDigest) {
        lock(&self.0.invalidations).record(Invalidation::DetailsStale(digest));
        self.shard(digest).drop_details(digest);
    }

    /// Stops using the cached details of a user's sessions.
    pub fn mark_user_stale(&self, user_id: UserId) {
        lock(&self.0.invalidations).record(Invalidation::UserStale(user_id));
        self.0.stale_users.mark(user_id);
    }

    /// Drops the details of users [marked as stale](Self::mark_user_stale), so that they
    /// can be cached again. It scans all details.
    pub fn drop_stale_users(&self) {
        self.0.stale_users.unmark_after(|users| {
            for shard in &self.0.shards {
                lock(shard).drop_details_of(users);
            }
        });
    }

    /// Removes everything before a new load, and returns the number of that load.
    pub fn clear(&self) -> u64 {
        let mut invalidations = lock(&self.0.invalidations);
        let generation = self.0.generation.fetch_add(1, Ordering::SeqCst) + 1;
        self.0.is_complete.store(false, Ordering::SeqCst);
        invalidations.record(Invalidation::All);
        drop(invalidations);
        for shard in &self.0.shards {
            let ended = lock(shard).clear();
            self.0.known.fetch_sub(ended, Ordering::Relaxed);
        }
        // A digest left out until now belongs to a session that the new load reads.
        self.0.has_overflowed.store(false, Ordering::SeqCst);
        generation
    }

    /// Declares that every existing session was inserted by the load of this number.
    pub fn complete(&self, generation: u64) -> Completion {
        // Under the lock, so that a load in the course of being cleared completes nothing.
        let _invalidations = lock(&self.0.invalidations);
        if self.0.generation.load(Ordering::SeqCst) != generation {
            return Completion::Superseded;
        }
        if self.0.has_overflowed.load(Ordering::SeqCst) {
            return Completion::NoRoom;
        }
        self.0.is_complete.store(true, Ordering::SeqCst);
        Completion::Complete
    }

    /// Whether there is room for more details.
    pub fn has_room(&self) -> bool {
        self.0.shards.iter().any(|shard| lock(shard).has_room())
    }

    /// Records a use of a session, to be written to the database together with others.
    /// Without room for that nothing changes, and the next check tries again.
    pub fn mark_seen(&self, digest: SessionDigest, now: DateTime<Utc>) {
        let mut shard = self.shard(digest);
        if self.0.seen.push(digest, now) {
            shard.mark_seen(digest, now);
        }
    }

    /// When a session was last used, as far as its details are cached, even if nothing else
    /// of them may be used.
    pub fn last_seen_at(&self, digest: SessionDigest) -> Option<DateTime<Utc>> {
        self.shard(digest).last_seen_at(digest)
    }

    /// The number of uses that wait to be written.
    pub fn seen_count(&self) -> usize {
        self.0.seen.len()
    }

    /// Takes at most `most` of the uses that wait.
    pub fn take_seen(&self, most: usize) -> SeenTimes {
        self.0.seen.take(most)
    }

    /// Puts back uses that could not be written, even beyond the limit.
    pub fn return_seen(&self, used: SeenTimes) {
        self.0.seen.put_back(used);
    }

    fn shard(&self, digest: SessionDigest) -> MutexGuard<'_, Shard> {
        lock(&self.0.shards[self.shard_of(digest)])
    }

    fn shard_of(&self, digest: SessionDigest) -> usize {
        // A byte other than those of the fingerprint, which the table of a shard uses.
        let byte = usize::from(digest.as_bytes()[31]);
        byte & (self.0.shards.len() - 1)
    }

    /// Adds a digest, and returns whether the cache knows it now. A digest without room
    /// makes the cache incomplete.
    fn add_known(&self, shard: &mut Shard, digest: SessionDigest) -> bool {
        if self.0.known.load(Ordering::Relaxed) < self.0.max_known {
            if shard.insert_known(digest) {
                self.0.known.fetch_add(1, Ordering::Relaxed);
            }
            return true;
        }
        let contains = shard.contains(digest);
        if !contains {
            self.0.has_overflowed.store(true, Ordering::SeqCst);
            self.0.is_complete.store(false, Ordering::SeqCst);
        }
        contains
    }
}

impl Cached<'_> {
    /// The times that the session's limits depend on.
    #[inline]
    pub fn times(&self) -> SessionTimes {
        self.entry.times()
    }

    /// The session, with the times after a check.
    #[inline]
    pub fn session(&self, times: SessionTimes) -> Session {
        self.entry.session(times)
    }

    /// The owner of the session.
    #[inline]
    pub fn owner(&self) -> SessionOwner {
        self.entry.owner()
    }

    /// Records a use of the session, to be written to the database together with others.
    /// Without room for that nothing changes, and the next check tries again.
    pub fn mark_seen(&mut self, now: DateTime<Utc>) {
        if self.seen.push(self.entry.digest, now) {
            self.entry.mark_seen(now);
        }
    }
}

/// A panic of another thread is ignored: data under these locks is consistent between any
/// two statements that can panic.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
