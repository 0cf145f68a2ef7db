//! A user's sessions on all their devices, and the removal of those that have
//! expired.

use std::cmp::Reverse;

use super::{Auth, AuthError, Field, LiveSession, sessions::MOST_SESSIONS};
use crate::domain::{Session, SessionHandle};

/// How many expired sessions are removed in one unit of work, so that nobody
/// who wants to write waits long.
const SWEPT_AT_ONCE: u32 = 500;

impl Auth {
    /// The open sessions of the user whose session this is, those seen last
    /// first; and which of them is this one.
    ///
    /// # Errors
    ///
    /// `SessionInvalid`, `Unavailable`, `Internal`.
    pub async fn list_sessions(
        &self,
        session_id: &str,
    ) -> Result<(Vec<LiveSession>, SessionHandle), AuthError> {
        let current = self.get_user_from_session_id(session_id).await?;
        let user_id = current.owner.id;
        let sessions = self.db.list_sessions(user_id, MOST_SESSIONS).await?;
        let mut sessions: Vec<Session> = sessions
            .into_iter()
            .map(|(digest, session)| self.with_last_use(digest, session))
            .collect();
        sessions.sort_by_key(|session| Reverse(session.last_seen_at));
        let open = sessions
            .into_iter()
            .filter(|session| self.is_live(session.times()))
            .map(|session| self.live(session))
            .collect();
        Ok((open, current.live.session.handle))
    }

    /// Ends the session that a handle names, of the user whose session this
    /// is. When this returns `Ok` the end is on disk.
    ///
    /// # Errors
    ///
    /// `SessionInvalid`, `InvalidField` when the handle names no open session
    /// of this user, `Unavailable`, `Internal`.
    pub async fn revoke_session(&self, session_id: &str, handle: &str) -> Result<(), AuthError> {
        let (by, current) = self.recognise(session_id).await?;
        if handle.is_empty() {
            return Err(AuthError::invalid(Field::Handle, &"is missing"));
        }
        let unknown = || {
            let problem = "names no open session of this user; ListSessions has their handles";
            AuthError::invalid(Field::Handle, &problem)
        };
        let handle = SessionHandle::parse(handle).ok_or_else(unknown)?;
        // A handle that was made up needs no turn to write.
        if !self.db.has_session(current.owner.id, handle).await? {
            return Err(unknown());
        }
        match self.db.remove_session_by_handle(by, handle).await? {
            None => {
                self.forget([by]);
                Err(AuthError::SessionInvalid)
            }
            Some(None) => Err(unknown()),
            Some(Some(ended)) => {
                self.forget([ended.digest]);
                match self.is_live(ended.times) {
                    true => Ok(()),
                    false => Err(unknown()),
                }
            }
        }
    }

    /// Ends every session but this one of the user whose session this is, and
    /// returns how many were open. When this returns `Ok` their end is on disk.
    ///
    /// # Errors
    ///
    /// `SessionInvalid`, `Unavailable`, `Internal`.
    pub async fn revoke_other_sessions(&self, session_id: &str) -> Result<usize, AuthError> {
        let (by, _) = self.recognise(session_id).await?;
        let Some(ended) = self.db.remove_other_sessions(by).await? else {
            self.forget([by]);
            return Err(AuthError::SessionInvalid);
        };
        self.forget(ended.iter().map(|ended| ended.digest));
        Ok(ended
            .into_iter()
            .filter(|ended| self.is_live(ended.times))
            .count())
    }

    /// Removes some of the sessions that have expired; `true` while there may
    /// be more. They are refused already: this gives back their room.
    ///
    /// # Errors
    ///
    /// `Unavailable`, `Internal`.
    pub async fn sweep_sessions(&self) -> Result<bool, AuthError> {
        let (now, limits) = (self.clock.now(), self.settings.session_limits);
        let removed = self
            .db
            .remove_expired_sessions(now - limits.idle, now - limits.absolute, SWEPT_AT_ONCE)
            .await?;
        if removed > 0 {
            tracing::debug!(removed, "expired sessions were removed");
        }
        Ok(removed > 0)
    }
}
