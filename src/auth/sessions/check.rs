//! Whose session it is: from memory where that can be relied on, from the database
//! where it cannot.

use std::time::Duration;

use chrono::{DateTime, Utc};
use tokio::{sync::SemaphorePermit, time};

use super::cache::Found;
use crate::auth::{Auth, AuthError, CheckedSession, LiveSession};
use crate::{
    db::DbError,
    domain::{
        CLOCK_SKEW, Revision, Session, SessionDigest, SessionOwner, SessionToken, SessionUse,
    },
};

/// The longest that an answer may be kept.
const MAX_CACHE: Duration = Duration::from_secs(300);

/// The longest wait for one of the connections that look-ups may have.
const PATIENCE: Duration = Duration::from_secs(2);

/// What memory says of a session.
pub(in crate::auth) enum Recalled {
    Live(CheckedSession),
    Ended,
    /// It knows of none.
    Nothing,
    /// It cannot say.
    Unsure,
}

impl Auth {
    /// Whose session this is; a check counts as use of it.
    ///
    /// # Errors
    ///
    /// `SessionInvalid`, `Unavailable`, `Internal`.
    pub async fn get_user_from_session_id(
        &self,
        session_id: &str,
    ) -> Result<CheckedSession, AuthError> {
        self.check(digest_of(session_id)?).await
    }

    /// The open session that a `session_id` proves, and its digest, for what is done with
    /// the session next; counts as use of it. Whatever is given a `session_id` begins with
    /// this, so that a `session_id` that a caller made up costs the database nothing where
    /// memory knows every session, and elsewhere a look-up within the limit that checks
    /// have, but never a turn to write.
    ///
    /// # Errors
    ///
    /// `SessionInvalid`, `Unavailable`, `Internal`.
    pub(in crate::auth) async fn recognise(
        &self,
        session_id: &str,
    ) -> Result<(SessionDigest, CheckedSession), AuthError> {
        let digest = digest_of(session_id)?;
        let checked = self.check(digest).await?;
        Ok((digest, checked))
    }

    /// The digest of a `session_id` that came with a login, for the session to be replaced;
    /// `None` where memory proves that there is none. A login does not wait for more than
    /// memory: the unit of work that opens its session looks for the other one anyway.
    pub(in crate::auth) fn digest_to_replace(&self, session_id: &str) -> Option<SessionDigest> {
        let digest = digest_of(session_id).ok()?;
        let is_absent =
            matches!(self.recall(digest), Recalled::Nothing) && !self.revocations.has_others();
        (!is_absent).then_some(digest)
    }

    async fn check(&self, digest: SessionDigest) -> Result<CheckedSession, AuthError> {
        match self.recall(digest) {
            Recalled::Live(checked) => Ok(checked),
            Recalled::Ended => Err(AuthError::SessionInvalid),
            // Boxed, so that the many that need not wait stay small.
            Recalled::Nothing => Box::pin(self.confirm_absence(digest)).await,
            Recalled::Unsure => Box::pin(self.look_up_session(digest)).await,
        }
    }

    /// Of a session that memory knows nothing of.
    async fn confirm_absence(&self, digest: SessionDigest) -> Result<CheckedSession, AuthError> {
        if !self.knows_all_that_is_open().await {
            return self.look_up_session(digest).await;
        }
        match self.recall(digest) {
            Recalled::Live(checked) => Ok(checked),
            Recalled::Ended | Recalled::Nothing => Err(AuthError::SessionInvalid),
            Recalled::Unsure => self.look_up_session(digest).await,
        }
    }

    /// Reads a session and whose it is from the database.
    ///
    /// # Errors
    ///
    /// `SessionInvalid`, `Unavailable`, `Internal`.
    pub(in crate::auth) async fn look_up_session(
        &self,
        digest: SessionDigest,
    ) -> Result<CheckedSession, AuthError> {
        let _permit = self.look_up_permit().await?;
        let position = self.revocations.position(self.clock.now());
        let reading = self.index.begin_reading();
        let found = self.db.find_session(digest).await?;
        let Some((session, user)) = found else {
            self.index.end(digest);
            return Err(AuthError::SessionInvalid);
        };
        let mut session = self.with_last_use(digest, session);
        let owner = SessionOwner::from(user);
        self.index
            .keep_looked_up(reading, digest, session.clone(), owner.clone());
        let now = self.clock.now();
        let used = self.settings.session_limits.check(session.times(), now);
        let used = used.ok_or(AuthError::SessionInvalid)?;
        if used.is_to_note {
            self.index.touch(digest, now);
        }
        session.last_seen_at = used.times.last_seen_at;
        let revision = self.revocations.revision_at(position, now);
        Ok(self.checked(owner, session, used, revision))
    }

    /// A permit to look up a secret in the database that anybody may have made up. There are
    /// fewer than connections: look-ups leave some to everything else.
    ///
    /// # Errors
    ///
    /// `Unavailable` when there is none in time.
    pub(in crate::auth) async fn look_up_permit(&self) -> Result<SemaphorePermit<'_>, AuthError> {
        match time::timeout(PATIENCE, self.look_ups.acquire()).await {
            Ok(Ok(permit)) => Ok(permit),
            _ => {
                let busy = "every connection that look-ups may have is busy";
                Err(DbError::Unavailable(busy.into()).into())
            }
        }
    }

    /// A session as the database has it, with a use that was not written yet. A use that
    /// is dated after now was noted under a clock that was wrong.
    pub(in crate::auth) fn with_last_use(
        &self,
        digest: SessionDigest,
        mut session: Session,
    ) -> Session {
        let latest = self.clock.now() + CLOCK_SKEW;
        let used = self.index.last_seen_at(digest);
        if let Some(used) = used.filter(|used| *used <= latest) {
            session.last_seen_at = session.last_seen_at.max(used);
        }
        session
    }

    /// What memory says, if it may be relied on.
    pub(in crate::auth) fn recall(&self, digest: SessionDigest) -> Recalled {
        let now = self.clock.now();
        let Some(revision) = self.revocations.current(now) else {
            return Recalled::Unsure;
        };
        self.index
            .look_up(digest, |found| self.take(found, revision, now))
    }

    /// What was found there; a use of it is noted.
    #[inline]
    pub(in crate::auth) fn take(
        &self,
        found: Found<'_>,
        revision: Revision,
        now: DateTime<Utc>,
    ) -> Recalled {
        let mut held = match found {
            Found::Held(held) => held,
            Found::Known => return Recalled::Unsure,
            Found::Nothing => return Recalled::Nothing,
        };
        let (limits, times) = (&self.settings.session_limits, held.times());
        let Some(used) = limits.check(times, now) else {
            // Another node may have seen it since, which does not make it younger.
            return if times.created_at + limits.absolute <= now {
                Recalled::Ended
            } else {
                Recalled::Unsure
            };
        };
        if used.is_dated_ahead && self.sweeping.bounds_what_is_dated_ahead() {
            // The database has it with its true limits, now or in a moment.
            return Recalled::Unsure;
        }
        if used.is_to_note {
            held.touch(now);
        }
        let session = held.session(used.times);
        Recalled::Live(self.checked(held.owner(), session, used, revision))
    }

    #[inline]
    fn checked(
        &self,
        owner: SessionOwner,
        session: Session,
        used: SessionUse,
        revision: Revision,
    ) -> CheckedSession {
        let most = MAX_CACHE.min(self.settings.session_limits.touch_step());
        CheckedSession {
            owner,
            live: LiveSession {
                session,
                expires_at: used.expires_at,
            },
            revision,
            cache_for: used.left.min(most),
        }
    }

    /// Whether what memory knows nothing of is nothing: on a node that has others
    /// beside it, once it has asked what those have opened.
    pub(in crate::auth) async fn knows_all_that_is_open(&self) -> bool {
        !self.revocations.has_others() || self.revocations.know_what_is_opened().await
    }
}

/// What a presented `session_id` is looked up by. Only checks use it: everything else
/// [`recognise`](Auth::recognise)s the session first.
pub(in crate::auth) fn digest_of(session_id: &str) -> Result<SessionDigest, AuthError> {
    SessionToken::digest_of(session_id).ok_or(AuthError::SessionInvalid)
}
