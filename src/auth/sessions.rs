//! Opening, recognising and ending sessions.

use chrono::{DateTime, Utc};

use super::{Auth, AuthError};
use crate::domain::{
    Client, Session, SessionDigest, SessionHandle, SessionTimes, SessionToken, User,
};

/// The most sessions that a user has, so that all of them can be listed, and
/// ended at once.
pub(super) const MOST_SESSIONS: u32 = 1_000;

/// A session that was good when it was looked up.
#[derive(Debug)]
pub struct LiveSession {
    /// The session.
    pub session: Session,
    /// When it ends if it is not used again.
    pub expires_at: DateTime<Utc>,
}

/// A session just opened, with the secret that proves it.
#[derive(Debug)]
pub struct OpenedSession {
    /// The `session_id`, to be shown to its owner this once.
    pub token: SessionToken,
    /// The session.
    pub live: LiveSession,
}

impl Auth {
    /// Opens a session for a user whom [`valid_login`](Self::valid_login) has
    /// let in, and ends the one that the caller presented along with it, if
    /// any: it is replaced. A user has at most 1,000; beyond that the one seen
    /// longest ago ends.
    ///
    /// # Errors
    ///
    /// `InvalidCredentials` when the password was changed since it was
    /// checked, `Unavailable`, `Internal`.
    pub async fn create_session(
        &self,
        user: &User,
        client: Client,
        presented: Option<&str>,
    ) -> Result<OpenedSession, AuthError> {
        let (token, session) = self.new_session(user, client)?;
        let replaced = presented.and_then(|session_id| digest_of(session_id).ok());
        let added = self
            .db
            .add_session(token.digest(), session.clone(), replaced, MOST_SESSIONS)
            .await?;
        if !added {
            return Err(AuthError::InvalidCredentials);
        }
        Ok(OpenedSession {
            token,
            live: self.live(session),
        })
    }

    /// Whose session this is; a check counts as use of it.
    ///
    /// # Errors
    ///
    /// `SessionInvalid`, `Unavailable`, `Internal`.
    pub async fn get_user_from_session_id(
        &self,
        session_id: &str,
    ) -> Result<(User, LiveSession), AuthError> {
        let digest = digest_of(session_id)?;
        let (mut session, user) = self
            .db
            .find_session(digest)
            .await?
            .filter(|(session, _)| self.is_live(session.times()))
            .ok_or(AuthError::SessionInvalid)?;
        let now = self.clock.now();
        let is_due = session.last_seen_at + self.settings.session_limits.touch_step() <= now;
        if is_due && self.db.touch_session(digest, now).await {
            session.last_seen_at = now;
        }
        Ok((user, self.live(session)))
    }

    /// Ends a session. When this returns `Ok` the end is on disk.
    ///
    /// # Errors
    ///
    /// `SessionInvalid` when there was none to end, `Unavailable`, `Internal`.
    pub async fn destroy_session(&self, session_id: &str) -> Result<(), AuthError> {
        match self.db.remove_session(digest_of(session_id)?).await? {
            Some(ended) if self.is_live(ended) => Ok(()),
            _ => Err(AuthError::SessionInvalid),
        }
    }

    /// A session that is not stored yet.
    pub(super) fn new_session(
        &self,
        user: &User,
        client: Client,
    ) -> Result<(SessionToken, Session), AuthError> {
        let now = self.clock.now();
        let session = Session {
            handle: SessionHandle::generate(),
            user_id: user.id,
            credential_version: user.credential_version,
            created_at: now,
            last_seen_at: now,
            client,
        };
        Ok((SessionToken::generate()?, session))
    }

    pub(super) fn is_live(&self, times: SessionTimes) -> bool {
        self.clock.now() < self.settings.session_limits.expires_at(times)
    }

    pub(super) fn live(&self, session: Session) -> LiveSession {
        LiveSession {
            expires_at: self.settings.session_limits.expires_at(session.times()),
            session,
        }
    }
}

/// What a presented `session_id` is looked up by.
pub(super) fn digest_of(session_id: &str) -> Result<SessionDigest, AuthError> {
    match SessionToken::parse(session_id) {
        Some(token) => Ok(token.digest()),
        None => Err(AuthError::SessionInvalid),
    }
}
