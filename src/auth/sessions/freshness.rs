//! Keeping the session cache fresh: one thread follows the log of revocations, and a lease
//! says until when the cache may be used.

mod commands;
mod follower;
mod lease;
mod watcher;

use std::{io, sync::Arc, time::Duration};

use chrono::{DateTime, Utc};
use tokio::{
    sync::{broadcast, watch},
    time,
};

pub use self::watcher::{Watch, WatchError, WatchEvent};
use self::{commands::CommandQueue, follower::Follower, lease::FreshnessLease};
use super::cache::SessionCache;
use crate::{
    clock::Clock,
    db::LogReader,
    domain::{Revision, Revocation},
};

/// The number of events kept for watchers. A watcher further behind reads the log.
const EVENT_BUFFER: usize = 4_096;

/// The longest time between two readings of the log.
const LONGEST_INTERVAL: Duration = Duration::from_millis(200);

/// An event that watchers receive from the follower.
#[derive(Clone, Copy, Debug)]
pub enum LogEvent {
    /// A revocation, in the order of the log.
    Revoked(Revocation),
    /// Every revocation up to this revision was sent.
    Current(Revision),
    /// The follower has started at some revision: earlier revocations are in the log.
    Started,
    /// The log may be another one from now on, so later revocations may be missing.
    Interrupted,
}

/// A position in one log of revocations.
#[derive(Clone, Copy, Debug)]
pub struct Position {
    revision: Revision,
    /// The load of the cache that began with this log.
    load: Option<u64>,
}

/// The handle of the log's follower. Clones share it and are cheap.
#[derive(Clone)]
pub struct Revocations(Arc<Shared>);

struct Shared {
    lease: FreshnessLease,
    commands: CommandQueue,
    events: broadcast::Sender<LogEvent>,
    /// The number of the latest load of the cache.
    loads: watch::Sender<Option<u64>>,
    has_others: bool,
}

/// Stops the follower when dropped.
pub struct FollowerGuard(Arc<Shared>);

impl Drop for FollowerGuard {
    fn drop(&mut self) {
        self.0.commands.stop();
    }
}

impl Revocations {
    /// Starts a thread that follows the log and applies it to the cache, which may then be
    /// used for `max_lag` after each reading of the log.
    ///
    /// # Errors
    ///
    /// When the operating system gives no thread.
    pub fn follow(
        reader: LogReader,
        cache: SessionCache,
        clock: Clock,
        max_lag: Duration,
    ) -> io::Result<(Self, FollowerGuard)> {
        let shared = Arc::new(Shared {
            lease: FreshnessLease::new(max_lag),
            commands: CommandQueue::default(),
            events: broadcast::Sender::new(EVENT_BUFFER),
            loads: watch::Sender::new(None),
            has_others: reader.has_others(),
        });
        let interval = LONGEST_INTERVAL.min(max_lag / 5);
        Follower::new(reader, cache, clock, interval, Arc::clone(&shared)).spawn()?;
        Ok((Self(Arc::clone(&shared)), FollowerGuard(shared)))
    }

    /// The revision up to which the cache takes every revocation into account, if the cache
    /// may be used now. It then also includes every revocation that any node acknowledged
    /// `max_lag` ago or earlier. To be called before the cache is read.
    pub fn current(&self, now: DateTime<Utc>) -> Option<Revision> {
        self.0.lease.valid_revision(now)
    }

    /// The position in the log that the cache includes now.
    pub fn position(&self, now: DateTime<Utc>) -> Option<Position> {
        // Read before the revision, which a restart of the log revokes first.
        let load = *self.0.loads.borrow();
        let revision = self.current(now)?;
        Some(Position { load, revision })
    }

    /// The revision of an earlier position, if the log is still the same; otherwise 0, so
    /// that callers do not compare it with revisions of another log.
    pub fn revision_at(&self, position: Option<Position>, now: DateTime<Utc>) -> Revision {
        match (position, self.position(now)) {
            (Some(before), Some(after)) if before.load == after.load => before.revision,
            _ => Revision::default(),
        }
    }

    /// Whether other nodes share the database: a session absent from the cache may have
    /// been opened by one of them a moment ago.
    pub fn has_others(&self) -> bool {
        self.0.has_others
    }

    /// Waits until the cache knows every session opened before this call; `false` when the
    /// database cannot be read in time.
    pub async fn learn_opened_sessions(&self) -> bool {
        let patience = self.0.lease.max_lag();
        matches!(
            time::timeout(patience, self.0.commands.ask()).await,
            Ok(true)
        )
    }

    /// Makes the follower read the log now, since it has new entries.
    pub fn wake(&self) {
        self.0.commands.wake();
    }

    /// Subscribes to the events from now on.
    pub fn events(&self) -> broadcast::Receiver<LogEvent> {
        self.0.events.subscribe()
    }

    /// Signals when the cache has to be loaded, with the number of the load.
    pub fn loads(&self) -> watch::Receiver<Option<u64>> {
        self.0.loads.subscribe()
    }
}
