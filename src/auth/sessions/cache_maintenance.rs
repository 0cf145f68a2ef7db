//! The upkeep of the session cache: loading it, dropping stale details, and writing the uses of
//! sessions that it has recorded.

use tokio::sync::watch;

use super::cache::Completion;
use crate::auth::{Auth, AuthError};
use crate::db::DbError;

/// The page size of a load with details.
const LOADED_AT_ONCE: u32 = 2_000;

/// The page size of a load of digests alone.
const DIGESTS_AT_ONCE: u32 = 10_000;

/// The number of uses written in one unit of work, so that other writers do not wait long.
const WRITTEN_AT_ONCE: usize = 500;

impl Auth {
    /// Signals when the cache has to be loaded, with the number of the load.
    pub fn loads(&self) -> watch::Receiver<Option<u64>> {
        self.revocations.loads()
    }

    /// Loads the cache: the details of as many sessions as there is room for, and the
    /// digests of all. Until then, checks of missing sessions query the database.
    ///
    /// # Errors
    ///
    /// `Unavailable`, `Internal`.
    pub async fn load_sessions(&self, load: u64) -> Result<(), AuthError> {
        let mut next = None;
        while self.cache.has_room() {
            let reading = self.cache.begin_reading();
            let page = self.db.sessions_after(next, LOADED_AT_ONCE).await?;
            self.cache.insert(reading, page.items);
            next = page.next;
            if next.is_none() {
                break;
            }
        }
        // From the beginning again, to include sessions that could not be read.
        let mut next = None;
        loop {
            let reading = self.cache.begin_reading();
            let page = self.db.session_digests_after(next, DIGESTS_AT_ONCE).await?;
            self.cache.insert_known(reading, page.items);
            next = page.next;
            if next.is_none() {
                break;
            }
        }
        match self.cache.complete(load) {
            Completion::Complete => tracing::info!("the session cache holds every session"),
            Completion::NoRoom => tracing::warn!(
                "there are more sessions than the session cache has room for, so checks of others \
                 query the database: raise session-index-size"
            ),
            // The next load reports its own result.
            Completion::Superseded => {}
        }
        Ok(())
    }

    /// Writes when sessions were last used, for all uses since the last call.
    ///
    /// # Errors
    ///
    /// `Unavailable`: the rest is written by the next call. `Internal`: some uses were
    /// dropped.
    pub async fn write_last_seen(&self) -> Result<(), AuthError> {
        // Uses recorded in the meantime are left to the next call, since there may be no
        // end of them.
        let mut waiting = self.cache.seen_count();
        while waiting > 0 {
            let used = self.cache.take_seen(waiting.min(WRITTEN_AT_ONCE));
            waiting -= used.len();
            if used.is_empty() {
                break;
            }
            if let Err(error) = self.db.mark_sessions_seen(used.clone()).await {
                // Uses that the database refuses for good must not block the others.
                if matches!(error, DbError::Unavailable(_)) {
                    self.cache.return_seen(used);
                }
                return Err(error.into());
            }
        }
        Ok(())
    }

    /// Drops cached details of changed users, so that they can be cached again.
    pub fn drop_stale_details(&self) {
        self.cache.drop_stale_users();
    }
}
