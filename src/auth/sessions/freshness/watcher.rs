//! Being told of revocations, from some revision on, without a gap.

use std::collections::VecDeque;

use thiserror::Error;
use tokio::sync::broadcast::{self, error::RecvError};

use super::{News, Revocations};
use crate::{
    db::{Db, DbError},
    domain::{Revision, Revocation},
};

/// How many revocations are read from the log at once.
const READ_AT_ONCE: u32 = 1_000;

/// What whoever watches is told next.
#[derive(Clone, Copy, Debug)]
pub enum Told {
    /// A revocation, later than any before.
    Revoked(Revocation),
    /// All there is up to this revision has been told.
    Current(Revision),
}

/// Why a watch is over.
#[derive(Debug, Error)]
pub enum WatchError {
    /// The log does not go back that far, or is another one since the database has
    /// lost its latest changes.
    #[error("the log does not go on from there")]
    Swept,
    /// The node cannot follow the log on from where it was.
    #[error("the log was interrupted")]
    Interrupted,
    /// The database could not.
    #[error(transparent)]
    Db(#[from] DbError),
}

/// One who watches.
pub struct Watch {
    db: Db,
    news: broadcast::Receiver<News>,
    /// Up to where it has been told.
    told: Revision,
    /// Read from the log, not told yet.
    read: VecDeque<Revocation>,
    /// Whether the log has more than what was read, and news comes after that.
    is_behind: bool,
    /// What is to be told at once.
    first: Option<Told>,
}

impl Watch {
    /// Begins after `since`, or with what comes from now on.
    ///
    /// # Errors
    ///
    /// When the log does not go back so far, or the database cannot.
    pub async fn begin(
        db: Db,
        revocations: &Revocations,
        since: Option<Revision>,
    ) -> Result<Self, WatchError> {
        // Before anything is read: what is news from now on is not missed.
        let mut watch = Self {
            db,
            news: revocations.news(),
            told: since.unwrap_or_default(),
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

    /// What comes next. Nothing is lost when this is dropped before it is ready.
    ///
    /// # Errors
    ///
    /// When there is no next, for whatever reason.
    pub async fn next(&mut self) -> Result<Told, WatchError> {
        if let Some(first) = self.first.take() {
            return Ok(first);
        }
        loop {
            if let Some(revocation) = self.read.pop_front() {
                self.told = revocation.revision;
                return Ok(Told::Revoked(revocation));
            }
            if self.is_behind {
                self.read_on().await?;
                continue;
            }
            match self.news.recv().await {
                Ok(News::Revoked(revocation)) if revocation.revision > self.told => {
                    self.told = revocation.revision;
                    return Ok(Told::Revoked(revocation));
                }
                // It was read from the log before.
                Ok(News::Revoked(_)) => {}
                Ok(News::Current(revision)) => return Ok(Told::Current(revision.max(self.told))),
                Ok(News::Interrupted) | Err(RecvError::Closed) => {
                    return Err(WatchError::Interrupted);
                }
                Ok(News::Begun) | Err(RecvError::Lagged(_)) => self.is_behind = true,
            }
        }
    }

    /// To the end of the log, not to where it has been followed: what lies between
    /// may have been news before anybody listened here.
    async fn skip_to_end(&mut self) -> Result<(), WatchError> {
        let page = self.db.revocations_after(Revision(i64::MAX), 1).await?;
        self.told = page.head;
        self.first = Some(Told::Current(page.head));
        Ok(())
    }

    async fn read_on(&mut self) -> Result<(), WatchError> {
        let page = self.db.revocations_after(self.told, READ_AT_ONCE).await?;
        if !page.continues(self.told) {
            return Err(WatchError::Swept);
        }
        self.read.extend(page.revocations);
        self.is_behind = page.has_more;
        Ok(())
    }
}
