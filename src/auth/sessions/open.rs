//! Opening and ending sessions.

use std::time::Duration;

use chrono::{DateTime, Utc};

use crate::auth::{Auth, AuthError};
use crate::{
    db::EndedSession,
    domain::{
        Revision, Session, SessionDigest, SessionHandle, SessionOwner, SessionTimes, SessionToken,
        User, UserId,
    },
    request_context::RequestContext,
};

/// The largest number of sessions of one user, so that all of them can be listed and ended
/// at once. Opening another ends the one seen longest ago.
pub(in crate::auth) const MAX_SESSIONS_PER_USER: u32 = 1_000;

/// A session found open.
#[derive(Debug)]
pub struct LiveSession {
    /// The session.
    pub session: Session,
    /// When the session ends without further use.
    pub expires_at: DateTime<Utc>,
}

/// A new session, with the secret that proves it.
#[derive(Debug)]
pub struct OpenedSession {
    /// The `session_id`. Its owner gets to see it only once.
    pub token: SessionToken,
    /// The session.
    pub live: LiveSession,
}

/// The result of a session check.
#[derive(Debug)]
pub struct CheckedSession {
    /// The user of the session.
    pub owner: SessionOwner,
    /// The session.
    pub live: LiveSession,
    /// The result takes every revocation up to this one into account.
    pub revision: Revision,
    /// How long a caller that watches revocations may cache the result.
    pub cache_for: Duration,
}

impl Auth {
    /// Opens a session for a user after every check of a
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
        presented: Option<&str>,
        context: &RequestContext<'_>,
    ) -> Result<OpenedSession, AuthError> {
        let (token, session) = self.new_session(user, context)?;
        let replaced = presented.and_then(|session_id| self.digest_to_replace(session_id));
        let reading = self.cache.begin_reading();
        let ended = self
            .db
            .add_session(
                token.digest(),
                session.clone(),
                replaced,
                MAX_SESSIONS_PER_USER,
            )
            .await?
            .ok_or(AuthError::InvalidCredentials)?;
        self.invalidate(ended);
        let owner = user.clone().into();
        self.cache
            .insert(reading, [(token.digest(), session.clone(), owner)]);
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
    pub async fn destroy_session(
        &self,
        session_id: &str,
        _context: &RequestContext<'_>,
    ) -> Result<(), AuthError> {
        let (digest, _) = self.authenticate(session_id).await?;
        let ended = self.db.remove_session(digest).await;
        match ended {
            Ok(ended) => {
                // Also if another request has just ended it, since this reply says so.
                self.invalidate([digest]);
                // It was live when it was authenticated, whatever its last written use.
                ended.map(drop).ok_or(AuthError::SessionInvalid)
            }
            Err(error) => {
                self.cache.drop_details(digest);
                Err(error.into())
            }
        }
    }

    /// Removes ended sessions from the cache. To be called before any caller learns of
    /// their end.
    pub(in crate::auth) fn invalidate(&self, ended: impl IntoIterator<Item = SessionDigest>) {
        let mut any = false;
        for digest in ended {
            self.cache.remove(digest);
            any = true;
        }
        if any {
            self.revocations.wake();
        }
    }

    /// The same after a call that ended all or most sessions of a user. Another node may have
    /// ended some of them a moment ago, of which the cache has not heard yet: the database is
    /// asked for the user's sessions until it has.
    pub(in crate::auth) fn invalidate_user(
        &self,
        user_id: UserId,
        ended: impl IntoIterator<Item = SessionDigest>,
    ) {
        if self.revocations.has_others() {
            self.cache.mark_user_stale(user_id);
        }
        self.invalidate(ended);
    }

    /// A new session, not stored yet.
    pub(in crate::auth) fn new_session(
        &self,
        user: &User,
        context: &RequestContext<'_>,
    ) -> Result<(SessionToken, Session), AuthError> {
        let now = self.clock.now();
        let session = Session {
            handle: SessionHandle::generate(),
            user_id: user.id,
            credential_version: user.credential_version,
            created_at: now,
            last_seen_at: now,
            client: context.device(),
        };
        Ok((SessionToken::generate()?, session))
    }

    pub(in crate::auth) fn is_live(&self, times: SessionTimes) -> bool {
        let now = self.clock.now();
        now < self.settings.session_limits.expires_at(times, now)
    }

    /// Tells whether a session was open until it ended. One with unreadable times may have been.
    /// To be asked before the end is committed: then the cache still has a later use than the
    /// database, if there is one.
    pub(in crate::auth) fn into_was_open(self) -> impl Fn(&EndedSession) -> bool + Send + 'static {
        move |ended| {
            ended.times.is_none_or(|times| {
                let last_seen_at = self.last_use(ended.digest, times.last_seen_at);
                self.is_live(SessionTimes {
                    last_seen_at,
                    ..times
                })
            })
        }
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
