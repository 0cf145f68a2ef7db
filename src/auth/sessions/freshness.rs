//! Keeping the session index honest: following the log of revocations, and knowing
//! until when what is in memory may be relied on.

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

pub use self::watcher::{Told, Watch, WatchError};
use self::{commands::Requests, follower::Follower, lease::Currency};
use super::cache::SessionIndex;
use crate::{
    clock::Clock,
    db::LogReader,
    domain::{Revision, Revocation},
};

/// How many pieces of news are kept for whoever watches; who is further behind
/// reads the log.
const NEWS: usize = 4_096;

/// The longest time between two readings of the log.
const LONGEST_INTERVAL: Duration = Duration::from_millis(200);

/// What whoever watches is told.
#[derive(Clone, Copy, Debug)]
pub enum News {
    /// A revocation, in order.
    Revoked(Revocation),
    /// All there is up to this revision has been told.
    Current(Revision),
    /// The log is followed from some revision on: what came before is in the log.
    Begun,
    /// The log may be another one from now on: what came next is in the log, if it is
    /// anywhere.
    Interrupted,
}

/// A place in one log of revocations.
#[derive(Clone, Copy, Debug)]
pub struct Position {
    revision: Revision,
    /// The load that was begun when the log was.
    load: Option<u64>,
}

/// How the log is followed, by everyone who has to do with it. Cheap to clone.
#[derive(Clone)]
pub struct Revocations(Arc<Shared>);

struct Shared {
    currency: Currency,
    requests: Requests,
    news: broadcast::Sender<News>,
    /// The load of the index that was begun last.
    loads: watch::Sender<Option<u64>>,
    has_others: bool,
}

/// Ends the following when dropped.
pub struct Following(Arc<Shared>);

impl Drop for Following {
    fn drop(&mut self) {
        self.0.requests.stop();
    }
}

impl Revocations {
    /// Starts to follow the log, on a thread of its own, and to tell the index.
    /// `max_lag`: how long what was read of the log may be relied on.
    ///
    /// # Errors
    ///
    /// When the operating system gives no thread.
    pub fn follow(
        reader: LogReader,
        index: SessionIndex,
        clock: Clock,
        max_lag: Duration,
    ) -> io::Result<(Self, Following)> {
        let shared = Arc::new(Shared {
            currency: Currency::new(max_lag),
            requests: Requests::default(),
            news: broadcast::Sender::new(NEWS),
            loads: watch::Sender::new(None),
            has_others: reader.has_others(),
        });
        let interval = LONGEST_INTERVAL.min(max_lag / 5);
        Follower::new(reader, index, clock, interval, Arc::clone(&shared)).spawn()?;
        Ok((Self(Arc::clone(&shared)), Following(shared)))
    }

    /// Whether the index may be relied on now: then it takes into account every
    /// revocation up to the revision that is returned, and every one that was
    /// acknowledged, anywhere, `max_lag` ago or before. To be asked before the
    /// index is.
    pub fn current(&self, now: DateTime<Utc>) -> Option<Revision> {
        self.0.currency.at(now)
    }

    /// The place in the log up to which memory is proven to be now, and in which log.
    pub fn position(&self, now: DateTime<Utc>) -> Option<Position> {
        // Before the revision, which a restart of the log takes back first.
        let load = *self.0.loads.borrow();
        let revision = self.current(now)?;
        Some(Position { load, revision })
    }

    /// The revision of a position of before, if the log is still the same one; 0
    /// otherwise, so that nobody compares it to the revisions of another log.
    pub fn revision_at(&self, position: Option<Position>, now: DateTime<Utc>) -> Revision {
        match (position, self.position(now)) {
            (Some(before), Some(after)) if before.load == after.load => before.revision,
            _ => Revision::default(),
        }
    }

    /// Whether other nodes open sessions: then what the index knows nothing of may
    /// have been opened a moment ago.
    pub fn has_others(&self) -> bool {
        self.0.has_others
    }

    /// Waits until the index knows of all that was opened before this call; `false`
    /// when the database cannot say.
    pub async fn know_what_is_opened(&self) -> bool {
        let patience = self.0.currency.max_lag();
        matches!(
            time::timeout(patience, self.0.requests.ask()).await,
            Ok(true)
        )
    }

    /// Has the log read now: there is something new in it.
    pub fn wake(&self) {
        self.0.requests.wake();
    }

    /// What is read of the log from now on.
    pub fn news(&self) -> broadcast::Receiver<News> {
        self.0.news.subscribe()
    }

    /// When the index has to be loaded, and by which number.
    pub fn loads(&self) -> watch::Receiver<Option<u64>> {
        self.0.loads.subscribe()
    }
}
