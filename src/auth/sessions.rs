//! Opening, recognising and ending sessions.

use chrono::{DateTime, Utc};

use super::{Auth, AuthError};
use crate::domain::{Client, Session, SessionHandle, SessionToken, TokenDigest, User};

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
    /// let in.
    ///
    /// # Errors
    ///
    /// `Unavailable`, `Internal`.
    pub async fn create_session(
        &self,
        user: &User,
        client: Client,
    ) -> Result<OpenedSession, AuthError> {
        let token = SessionToken::generate()?;
        let now = self.clock.now();
        let session = Session {
            handle: SessionHandle::generate(),
            user_id: user.id,
            created_at: now,
            last_seen_at: now,
            client,
        };
        self.db.add_session(token.digest(), session.clone()).await?;
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
            .ok_or(AuthError::SessionInvalid)?;
        if !self.is_live(&session) {
            return Err(AuthError::SessionInvalid);
        }
        let now = self.clock.now();
        let is_due = session.last_seen_at + self.session_limits.touch_step() <= now;
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
            Some(session) if self.is_live(&session) => Ok(()),
            _ => Err(AuthError::SessionInvalid),
        }
    }

    fn is_live(&self, session: &Session) -> bool {
        self.clock.now() < self.session_limits.expires_at(session)
    }

    fn live(&self, session: Session) -> LiveSession {
        LiveSession {
            expires_at: self.session_limits.expires_at(&session),
            session,
        }
    }
}

fn digest_of(session_id: &str) -> Result<TokenDigest, AuthError> {
    match SessionToken::parse(session_id) {
        Some(token) => Ok(token.digest()),
        None => Err(AuthError::SessionInvalid),
    }
}
