//! Keeping memory and the database together, beside the requests.

use tokio::sync::watch;

use super::{
    cache::Completion,
    freshness::{Watch, WatchError},
};
use crate::auth::{Auth, AuthError};
use crate::{db::DbError, domain::Revision};

/// How many sessions are read at once while memory is loaded.
const LOADED_AT_ONCE: u32 = 2_000;

/// The same where it is their digests alone.
const NOTED_AT_ONCE: u32 = 10_000;

/// How many uses are written in one unit of work, so that nobody who wants to
/// write waits long.
const WRITTEN_AT_ONCE: usize = 500;

impl Auth {
    /// When memory has to be loaded, and by which number.
    pub fn loads(&self) -> watch::Receiver<Option<u64>> {
        self.revocations.loads()
    }

    /// Loads memory: all sessions as far as there is room, of the rest that there
    /// are any. Until that is done, the database is asked for what is not there yet.
    ///
    /// # Errors
    ///
    /// `Unavailable`, `Internal`.
    pub async fn load_sessions(&self, load: u64) -> Result<(), AuthError> {
        let mut next = None;
        while self.index.has_room() {
            let reading = self.index.begin_reading();
            let page = self.db.sessions_after(next, LOADED_AT_ONCE).await?;
            self.index.keep(reading, page.items);
            next = page.next;
            if next.is_none() {
                break;
            }
        }
        // From the beginning: also those that could not be read.
        let mut next = None;
        loop {
            let reading = self.index.begin_reading();
            let page = self.db.session_digests_after(next, NOTED_AT_ONCE).await?;
            self.index.note(reading, page.items);
            next = page.next;
            if next.is_none() {
                break;
            }
        }
        match self.index.complete(load) {
            Completion::Complete => tracing::info!("the session index holds every session"),
            Completion::NoRoom => tracing::warn!(
                "there are more sessions than the session index has room for: what it does not \
                 know, the database is asked; raise session-index-size"
            ),
            // The load that is begun now will say.
            Completion::Superseded => {}
        }
        Ok(())
    }

    /// Writes which sessions were used since the last call.
    ///
    /// # Errors
    ///
    /// `Unavailable`: the rest is written by the next call. `Internal`: some uses were
    /// dropped.
    pub async fn write_uses(&self) -> Result<(), AuthError> {
        // Not those that are noted meanwhile, of which there may be no end.
        let mut waiting = self.index.touched();
        while waiting > 0 {
            let used = self.index.take_touched(waiting.min(WRITTEN_AT_ONCE));
            waiting -= used.len();
            if used.is_empty() {
                break;
            }
            if let Err(error) = self.db.mark_sessions_seen(used.clone()).await {
                // What the database refuses for good is not to hold up the rest.
                if matches!(error, DbError::Unavailable(_)) {
                    self.index.give_back_touched(used);
                }
                return Err(error.into());
            }
        }
        Ok(())
    }

    /// Makes room in memory for what may be said anew of users who have changed, and
    /// closes connections to the database that are idle.
    pub fn tidy(&self) {
        self.index.drop_released();
        self.db.close_idle_connections();
    }

    /// Tells of revocations after `since`, or from now on.
    ///
    /// # Errors
    ///
    /// When the log does not go back so far, or the database cannot.
    pub async fn watch_revocations(&self, since: Option<Revision>) -> Result<Watch, WatchError> {
        Watch::begin(self.db.clone(), &self.revocations, since).await
    }
}
