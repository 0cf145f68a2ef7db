//! Opening, recognising and ending sessions.

use std::time::Duration;

use chrono::{DateTime, Utc};

use crate::auth::{Auth, AuthError};
use crate::{
    db::Ended,
    domain::{
        Client, Revision, Session, SessionDigest, SessionHandle, SessionOwner, SessionTimes,
        SessionToken, User,
    },
};

/// The most sessions that a user has, so that all of them can be listed, and
/// ended at once.
pub(in crate::auth) const MOST_SESSIONS: u32 = 1_000;

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

/// What came of a check.
#[derive(Debug)]
pub struct CheckedSession {
    /// Whose session it is.
    pub owner: SessionOwner,
    /// The session.
    pub live: LiveSession,
    /// Every revocation up to this one is taken into account.
    pub revision: Revision,
    /// How long this may be kept by who is told of revocations.
    pub cache_for: Duration,
}

impl Auth {
    /// Opens a session for a user who has passed every check of a
    /// [login](Self::log_in), and ends the one that the caller presented along with it, if
    /// any. A user has at most 1,000; beyond that the one seen longest ago ends.
    ///
    /// # Errors
    ///
    /// `InvalidCredentials` when the password was changed since it was
    /// checked, `Unavailable`, `Internal`.
    pub(in crate::auth) async fn create_session(
        &self,
        user: &User,
        client: Client,
        presented: Option<&str>,
    ) -> Result<OpenedSession, AuthError> {
        let (token, session) = self.new_session(user, client)?;
        let replaced = presented.and_then(|session_id| self.digest_to_replace(session_id));
        let reading = self.index.begin_reading();
        let ended = self
            .db
            .add_session(token.digest(), session.clone(), replaced, MOST_SESSIONS)
            .await?
            .ok_or(AuthError::InvalidCredentials)?;
        self.forget(ended);
        let owner = user.clone().into();
        self.index
            .keep(reading, [(token.digest(), session.clone(), owner)]);
        Ok(OpenedSession {
            token,
            live: self.live(session),
        })
    }

    /// Ends a session. When this returns `Ok` the end is on disk.
    ///
    /// # Errors
    ///
    /// `SessionInvalid` when there was none to end, `Unavailable`, `Internal`.
    pub async fn destroy_session(&self, session_id: &str) -> Result<(), AuthError> {
        let (digest, _) = self.recognise(session_id).await?;
        let ended = self.db.remove_session(digest).await;
        match ended {
            Ok(ended) => {
                // Also what somebody else has ended: this answer says so.
                self.forget([digest]);
                match ended {
                    Some(ended) if self.was_live(&ended) => Ok(()),
                    _ => Err(AuthError::SessionInvalid),
                }
            }
            Err(error) => {
                self.index.release(digest);
                Err(error.into())
            }
        }
    }

    /// Has memory forget sessions that have ended, before anybody is told so.
    pub(in crate::auth) fn forget(&self, ended: impl IntoIterator<Item = SessionDigest>) {
        let mut any = false;
        for digest in ended {
            self.index.end(digest);
            any = true;
        }
        if any {
            self.revocations.wake();
        }
    }

    /// A session that is not stored yet.
    pub(in crate::auth) fn new_session(
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

    pub(in crate::auth) fn is_live(&self, times: SessionTimes) -> bool {
        let now = self.clock.now();
        now < self.settings.session_limits.expires_at(times, now)
    }

    /// Whether a session was open until it was ended; one whose times cannot be read
    /// may have been.
    pub(in crate::auth) fn was_live(&self, ended: &Ended) -> bool {
        ended.times.is_none_or(|times| self.is_live(times))
    }

    pub(in crate::auth) fn live(&self, session: Session) -> LiveSession {
        let now = self.clock.now();
        LiveSession {
            expires_at: self
                .settings
                .session_limits
                .expires_at(session.times(), now),
            session,
        }
    }
}
