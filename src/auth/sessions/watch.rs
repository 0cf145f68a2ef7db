//! Watching the revocations of sessions.

use super::freshness::{Watch, WatchError};
use crate::{auth::Auth, domain::Revision, request_context::RequestContext};

impl Auth {
    /// Watches the revocations after `since`, or from now on.
    ///
    /// # Errors
    ///
    /// When the log does not go back so far, or the database cannot be read.
    pub async fn watch_revocations(
        &self,
        since: Option<Revision>,
        _context: &RequestContext<'_>,
    ) -> Result<Watch, WatchError> {
        Watch::begin(self.db.clone(), &self.revocations, since).await
    }
}
