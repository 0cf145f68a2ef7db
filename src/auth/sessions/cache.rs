//! The session index: the sessions there are, in memory, so that whose session it
//! is can be said without asking the database. It knows of every session that it
//! exists, and of as many as it has room for, whose they are.
//!
//! It is told of what ends sessions, and whether what it says may be relied on
//! at all is [`revocations`](crate::auth::sessions::freshness)' affair.

mod chunked_vec;
mod invalidation_log;
mod record;
mod shard;
mod table;
mod user_agents;

#[cfg(test)]
mod tests;

use std::{
    collections::HashSet,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, RwLock,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
};

use chrono::{DateTime, Utc};

pub use self::invalidation_log::Reading;
use self::{
    invalidation_log::{Forgotten, Recent},
    record::Record,
    shard::{Fit, Shard},
    user_agents::UserAgents,
};
use crate::domain::{Session, SessionDigest, SessionOwner, SessionTimes, UserId};

/// The most parts it is divided into, each with a lock of its own, so that those
/// who look up at once do not wait for each other.
const MOST_SHARDS: usize = 16;

/// A part is not worth having for fewer sessions.
const LEAST_PER_SHARD: usize = 1_024;

/// How many sessions it knows of, for each whose details it may hold.
const KNOWN_PER_HELD: usize = 16;

/// The least of those.
const LEAST_KNOWN: usize = 1_000_000;

/// How many uses of sessions wait to be noted in the database; more are not
/// noted, and the next check of such a session tries again.
const MOST_TOUCHED: usize = 100_000;

/// What is known of a session.
pub enum Found<'a> {
    /// All of it.
    Held(Held<'a>),
    /// That it is there, or may be: the database knows.
    Known,
    /// There is none.
    Nothing,
}

/// What is held of a session, for as long as nobody else may change it.
pub struct Held<'a> {
    record: &'a mut Record,
    touched: &'a Mutex<Touched>,
}

/// Uses of sessions.
type Touched = Vec<(SessionDigest, DateTime<Utc>)>;

/// What came of a load.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Completion {
    /// What is not known is nothing.
    Complete,
    /// There are more sessions than it can know of.
    NoRoom,
    /// It was cleared meanwhile, for another load.
    Superseded,
}

/// Shared by everyone. Cheap to clone.
#[derive(Clone)]
pub struct SessionIndex(Arc<Inner>);

struct Inner {
    user_agents: UserAgents,
    shards: Box<[Mutex<Shard>]>,
    most_known: usize,
    known: AtomicUsize,
    /// Whether what is not known is nothing.
    complete: AtomicBool,
    /// Which load it is complete by.
    generation: AtomicU64,
    recent: Mutex<Recent>,
    /// Users of whom nothing that is held may be said until it has been dropped.
    suspects: RwLock<HashSet<UserId>>,
    has_suspects: AtomicBool,
    touched: Mutex<Touched>,
}

impl SessionIndex {
    /// An empty one, which holds the details of at most so many sessions.
    pub fn new(most: usize) -> Self {
        let shards = (most / LEAST_PER_SHARD)
            .clamp(1, MOST_SHARDS)
            .next_power_of_two();
        let most_per_shard = most.div_ceil(shards);
        let user_agents = UserAgents::default();
        Self(Arc::new(Inner {
            shards: (0..shards)
                .map(|_| Mutex::new(Shard::new(most_per_shard, user_agents.clone())))
                .collect(),
            user_agents,
            most_known: most.saturating_mul(KNOWN_PER_HELD).max(LEAST_KNOWN),
            known: AtomicUsize::new(0),
            complete: AtomicBool::new(false),
            generation: AtomicU64::new(0),
            recent: Mutex::default(),
            suspects: RwLock::default(),
            has_suspects: AtomicBool::new(false),
            touched: Mutex::default(),
        }))
    }

    /// Tells what is known of a session. Whoever is told asks nothing of the index
    /// meanwhile: a part of it is locked.
    pub fn look_up<T>(&self, digest: SessionDigest, take: impl FnOnce(Found<'_>) -> T) -> T {
        // Before it is looked for, and again after: it may be completed, or cleared,
        // meanwhile.
        let complete = self.0.complete.load(Ordering::SeqCst);
        let mut shard = self.shard(digest);
        take(self.found(shard.look_up(digest), complete))
    }

    /// The same of several, part by part: each with its place among them.
    pub fn look_up_many(&self, digests: &[SessionDigest], mut take: impl FnMut(usize, Found<'_>)) {
        let complete = self.0.complete.load(Ordering::SeqCst);
        // The part in the upper half: whole numbers are sorted fastest.
        let mut order: Vec<u64> = (0..)
            .zip(digests)
            .map(|(place, digest)| (self.shard_of(*digest) as u64) << 32 | place)
            .collect();
        order.sort_unstable();
        for group in order.chunk_by(|one, other| one >> 32 == other >> 32) {
            let mut shard = lock(&self.0.shards[(group[0] >> 32) as usize]);
            let places = group.iter().map(|ordered| *ordered as u32 as usize);
            let asked = places.map(|place| (place, digests[place]));
            shard.look_up_many(asked, |place, fit| take(place, self.found(fit, complete)));
        }
    }

    #[inline]
    fn found<'a>(&'a self, fit: Fit<'a>, complete: bool) -> Found<'a> {
        match fit {
            Fit::Held(record) if !self.suspects(record.user_id()) => Found::Held(Held {
                record,
                touched: &self.0.touched,
            }),
            Fit::Held(_) | Fit::Known => Found::Known,
            Fit::Nothing if complete && self.0.complete.load(Ordering::SeqCst) => Found::Nothing,
            Fit::Nothing => Found::Known,
        }
    }

    /// To be called before sessions are read from the database that are to be
    /// [`keep`](Self::keep)ed: what is forgotten meanwhile is not kept.
    pub fn begin_reading(&self) -> Reading {
        lock(&self.0.recent).begin_reading()
    }

    /// Keeps what was read of some sessions, as far as there is room; of those that
    /// may have changed meanwhile, that they are there.
    pub fn keep(
        &self,
        reading: Reading,
        sessions: impl IntoIterator<Item = (SessionDigest, Session, SessionOwner)>,
    ) {
        self.keep_if(reading, sessions, |_, _| true);
    }

    /// The same of a session that was looked up for a check. Where all others are known and
    /// this one is not, another check may have been refused meanwhile, because it is not:
    /// then the next one reads it again, and is not answered from before that refusal.
    pub fn keep_looked_up(
        &self,
        reading: Reading,
        digest: SessionDigest,
        session: Session,
        owner: SessionOwner,
    ) {
        let complete = self.0.complete.load(Ordering::SeqCst);
        let sessions = [(digest, session, owner)];
        self.keep_if(reading, sessions, |shard, digest| {
            !complete || shard.knows(digest)
        });
    }

    fn keep_if(
        &self,
        reading: Reading,
        sessions: impl IntoIterator<Item = (SessionDigest, Session, SessionOwner)>,
        may_hold: impl Fn(&Shard, SessionDigest) -> bool,
    ) {
        // Held until all are kept: what is forgotten from now on finds them.
        let recent = lock(&self.0.recent);
        let since = recent.since(reading);
        for (digest, session, owner) in sessions {
            let is_sure = match &since {
                Some(since) if since.has_ended(digest) => continue,
                Some(since) => !since.is_in_doubt(digest, owner.id) && !self.suspects(owner.id),
                None => false,
            };
            let mut shard = self.shard(digest);
            let is_sure = is_sure && may_hold(&shard, digest);
            if self.note_in(&mut shard, digest) && is_sure {
                shard.hold(digest, &session, &owner);
            }
        }
    }

    /// Notes that there are some sessions, whose details nobody has asked for.
    pub fn note(&self, reading: Reading, sessions: impl IntoIterator<Item = SessionDigest>) {
        let recent = lock(&self.0.recent);
        let since = recent.since(reading);
        let has_ended = |digest| since.as_ref().is_some_and(|since| since.has_ended(digest));
        for digest in sessions {
            if !has_ended(digest) {
                self.note_in(&mut self.shard(digest), digest);
            }
        }
    }

    /// Forgets a session that has ended.
    pub fn end(&self, digest: SessionDigest) {
        lock(&self.0.recent).forget(Forgotten::Ended(digest));
        if self.shard(digest).end(digest) {
            self.0.known.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// Forgets the details of a session that may have ended.
    pub fn release(&self, digest: SessionDigest) {
        lock(&self.0.recent).forget(Forgotten::Released(digest));
        self.shard(digest).release(digest);
    }

    /// Says nothing any more of what is held of a user.
    pub fn release_user(&self, user_id: UserId) {
        lock(&self.0.recent).forget(Forgotten::User(user_id));
        self.0
            .suspects
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(user_id);
        self.0.has_suspects.store(true, Ordering::SeqCst);
    }

    /// Drops what is held of users who were [released](Self::release_user), so that
    /// it can be held anew. It looks at everything that is held.
    pub fn drop_released(&self) {
        if !self.0.has_suspects.load(Ordering::SeqCst) {
            return;
        }
        let suspects = self
            .0
            .suspects
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        for shard in &self.0.shards {
            lock(shard).release_of(&suspects);
        }
        // Nothing was held of them meanwhile, even of whom was released once more.
        let mut left = self
            .0
            .suspects
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        left.retain(|user_id| !suspects.contains(user_id));
        self.0
            .has_suspects
            .store(!left.is_empty(), Ordering::SeqCst);
    }

    /// Forgets everything: it is to be loaded anew. What is complete after that is
    /// said with the number that this returns.
    pub fn clear(&self) -> u64 {
        let mut recent = lock(&self.0.recent);
        let generation = self.0.generation.fetch_add(1, Ordering::SeqCst) + 1;
        self.0.complete.store(false, Ordering::SeqCst);
        recent.forget(Forgotten::Everything);
        drop(recent);
        for shard in &self.0.shards {
            let ended = lock(shard).clear();
            self.0.known.fetch_sub(ended, Ordering::Relaxed);
        }
        self.0.user_agents.drop_unused();
        generation
    }

    /// Says that every session there is has been noted since it was cleared.
    pub fn complete(&self, generation: u64) -> Completion {
        // A load that is cleared away at this moment completes nothing.
        let _recent = lock(&self.0.recent);
        if self.0.generation.load(Ordering::SeqCst) != generation {
            return Completion::Superseded;
        }
        if self.0.known.load(Ordering::Relaxed) >= self.0.most_known {
            return Completion::NoRoom;
        }
        self.0.complete.store(true, Ordering::SeqCst);
        Completion::Complete
    }

    /// Whether more details have room.
    pub fn has_room(&self) -> bool {
        self.0.shards.iter().any(|shard| lock(shard).has_room())
    }

    /// Notes that a session was used: to be written to the database, with others. Where
    /// there is no room for that, nothing changes, and the next check tries again.
    pub fn touch(&self, digest: SessionDigest, now: DateTime<Utc>) {
        let mut shard = self.shard(digest);
        if note_use(&self.0.touched, digest, now) {
            shard.touch(digest, now);
        }
    }

    /// When a session was used last, as far as that is held; also when nothing else
    /// that is held may be relied on.
    pub fn last_seen_at(&self, digest: SessionDigest) -> Option<DateTime<Utc>> {
        self.shard(digest).last_seen_at(digest)
    }

    /// How many uses wait to be written.
    pub fn touched(&self) -> usize {
        lock(&self.0.touched).len()
    }

    /// Takes some of the uses that wait, at most `most`.
    pub fn take_touched(&self, most: usize) -> Touched {
        let mut touched = lock(&self.0.touched);
        let rest = touched.len().saturating_sub(most);
        touched.split_off(rest)
    }

    /// Has uses wait again that were taken and could not be written, also where others
    /// have taken their room.
    pub fn give_back_touched(&self, used: Touched) {
        lock(&self.0.touched).extend(used);
    }

    fn shard(&self, digest: SessionDigest) -> MutexGuard<'_, Shard> {
        lock(&self.0.shards[self.shard_of(digest)])
    }

    fn shard_of(&self, digest: SessionDigest) -> usize {
        // Not by the bytes that it goes by inside.
        let byte = usize::from(digest.as_bytes()[31]);
        byte & (self.0.shards.len() - 1)
    }

    fn suspects(&self, user_id: UserId) -> bool {
        self.0.has_suspects.load(Ordering::SeqCst)
            && self
                .0
                .suspects
                .read()
                .unwrap_or_else(PoisonError::into_inner)
                .contains(&user_id)
    }

    /// Whether there is a place for it. What has none is not complete any more.
    fn note_in(&self, shard: &mut Shard, digest: SessionDigest) -> bool {
        if self.0.known.load(Ordering::Relaxed) < self.0.most_known {
            if shard.note(digest) {
                self.0.known.fetch_add(1, Ordering::Relaxed);
            }
            return true;
        }
        let knows = shard.knows(digest);
        if !knows {
            self.0.complete.store(false, Ordering::SeqCst);
        }
        knows
    }
}

impl Held<'_> {
    /// What its limits go by.
    #[inline]
    pub fn times(&self) -> SessionTimes {
        self.record.times()
    }

    /// The session, with the times that a check leaves it.
    #[inline]
    pub fn session(&self, times: SessionTimes) -> Session {
        self.record.session(times)
    }

    /// Whose it is.
    #[inline]
    pub fn owner(&self) -> SessionOwner {
        self.record.owner()
    }

    /// Notes that it was used: to be written to the database, with others. Where there
    /// is no room for that, nothing changes, and the next check tries again.
    pub fn touch(&mut self, now: DateTime<Utc>) {
        if note_use(self.touched, self.record.digest, now) {
            self.record.touch(now);
        }
    }
}

/// Whether there was room for it.
fn note_use(touched: &Mutex<Touched>, digest: SessionDigest, now: DateTime<Utc>) -> bool {
    let mut touched = lock(touched);
    let has_room = touched.len() < MOST_TOUCHED;
    if has_room {
        touched.push((digest, now));
    }
    has_room
}

/// A panic elsewhere is no reason to stop: what is under a lock is whole between
/// any two statements that can panic.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
