//! Watching revocations from a given revision on, without gaps.

use std::collections::VecDeque;

use thiserror::Error;
use tokio::sync::broadcast::{self, error::RecvError};

use super::{LogEvent, Revocations};
use crate::{
    db::{Db, DbError},
    domain::{Revision, Revocation},
};

/// The number of revocations read from the log at once.
const READ_AT_ONCE: u32 = 1_000;

/// The next event of a watch.
#[derive(Clone, Copy, Debug)]
pub enum WatchEvent {
    /// A revocation, with a greater revision than any before.
    Revoked(Revocation),
    /// Every revocation up to this revision was returned.
    Current(Revision),
}

/// Why a watch has ended.
#[derive(Debug, Error)]
pub enum WatchError {
    /// The log does not go back that far, or it is another one because the database has
    /// lost its latest changes.
    #[error("the log does not go on from there")]
    Swept,
    /// The node cannot continue the log from its last position.
    #[error("the log was interrupted")]
    Interrupted,
    /// The database could not be read.
    #[error(transparent)]
    Db(#[from] DbError),
}

/// A stream of revocations.
pub struct Watch {
    db: Db,
    events: broadcast::Receiver<LogEvent>,
    /// The last returned revision.
    last_returned: Revision,
    /// Revocations that were read from the log and not returned yet.
    read: VecDeque<Revocation>,
    /// Whether the log has more entries, which come before further events.
    is_behind: bool,
    /// An event to return at once.
    first: Option<WatchEvent>,
}

impl Watch {
    /// Begins after `since`, or with the revocations from now on.
    ///
    /// # Errors
    ///
    /// When the log does not go back so far, or the database cannot be read.
    pub async fn begin(
        db: Db,
        revocations: &Revocations,
        since: Option<Revision>,
    ) -> Result<Self, WatchError> {
        // Subscribed before the log is read, so that no event is missed.
        let mut watch = Self {
            db,
            events: revocations.events(),
            last_returned: since.unwrap_or_default(),
            read: VecDeque::new(),
            is_behind: false,
            first: None,
        };
        match since {
            Some(_) => watch.read_on().await?,
            None => watch.skip_to_end().await?,
        }
        Ok(watch)
    }

    /// The next event. This is cancellation safe.
    ///
    /// # Errors
    ///
    /// When the watch has ended.
    pub async fn next(&mut self) -> Result<WatchEvent, WatchError> {
        if let Some(first) = self.first.take() {
            return Ok(first);
        }
        loop {
            if let Some(revocation) = self.read.pop_front() {
                self.last_returned = revocation.revision;
                return Ok(WatchEvent::Revoked(revocation));
            }
            if self.is_behind {
                self.read_on().await?;
                continue;
            }
            match self.events.recv().await {
                Ok(LogEvent::Revoked(revocation)) if revocation.revision > self.last_returned => {
                    self.last_returned = revocation.revision;
                    return Ok(WatchEvent::Revoked(revocation));
                }
                // It was already read from the log.
                Ok(LogEvent::Revoked(_)) => {}
                Ok(LogEvent::Current(revision)) => {
                    return Ok(WatchEvent::Current(revision.max(self.last_returned)));
                }
                Ok(LogEvent::Interrupted) | Err(RecvError::Closed) => {
                    return Err(WatchError::Interrupted);
                }
                Ok(LogEvent::Started) | Err(RecvError::Lagged(_)) => self.is_behind = true,
            }
        }
    }

    /// Skips to the end of the log and not to the follower's position: events between the
    /// two may have been sent before this watch subscribed.
    async fn skip_to_end(&mut self) -> Result<(), WatchError> {
        let page = self.db.revocations_after(Revision(i64::MAX), 1).await?;
        self.last_returned = page.head;
        self.first = Some(WatchEvent::Current(page.head));
        Ok(())
    }

    async fn read_on(&mut self) -> Result<(), WatchError> {
        let page = self
            .db
            .revocations_after(self.last_returned, READ_AT_ONCE)
            .await?;
        if !page.continues(self.last_returned) {
            return Err(WatchError::Swept);
        }
        self.read.extend(page.revocations);
        self.is_behind = page.has_more;
        Ok(())
    }
}
