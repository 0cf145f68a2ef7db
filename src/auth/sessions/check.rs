//! Checking a session: from the cache while it is fresh, otherwise from the database.

use std::time::Duration;

use chrono::{DateTime, Utc};
use tokio::{sync::SemaphorePermit, time};

use super::cache::Lookup;
use crate::auth::{Auth, AuthError, CheckedSession, LiveSession};
use crate::{
    db::DbError,
    domain::{
        CLOCK_SKEW, Revision, Session, SessionDigest, SessionOwner, SessionToken, SessionUse,
    },
    request_context::RequestContext,
};

/// The upper limit of [`CheckedSession::cache_for`].
const MAX_CACHE: Duration = Duration::from_secs(300);

/// The longest wait for a permit to query the database.
const PATIENCE: Duration = Duration::from_secs(2);

/// The result of a check against the cache.
pub(in crate::auth) enum CacheCheck {
    Live(CheckedSession),
    Ended,
    /// The cache does not know the session.
    Absent,
    /// The cache cannot decide: ask the database.
    Undecided,
}

impl Auth {
    /// The user of an open session. A check counts as use of the session.
    ///
    /// # Errors
    ///
    /// `SessionInvalid`, `Unavailable`, `Internal`.
    pub async fn get_user_from_session_id(
        &self,
        session_id: &str,
        _context: &RequestContext<'_>,
    ) -> Result<CheckedSession, AuthError> {
        self.check(digest_of(session_id)?).await
    }

    /// The open session of a `session_id` and its digest, for a further operation on it;
    /// counts as use of the session. Every operation that takes a `session_id` begins with
    /// this. So an invented `session_id` causes no query where the cache is complete,
    /// elsewhere a look-up within the limit for checks, and never a write.
    ///
    /// # Errors
    ///
    /// `SessionInvalid`, `Unavailable`, `Internal`.
    pub(in crate::auth) async fn authenticate(
        &self,
        session_id: &str,
    ) -> Result<(SessionDigest, CheckedSession), AuthError> {
        let digest = digest_of(session_id)?;
        let checked = self.check(digest).await?;
        Ok((digest, checked))
    }

    /// The digest of a `session_id` that came with a login, whose session is to be
    /// replaced; `None` if the cache proves that there is none. It does not query the
    /// database, since the unit of work that opens the new session looks for the old one
    /// anyway.
    pub(in crate::auth) fn digest_to_replace(&self, session_id: &str) -> Option<SessionDigest> {
        let digest = digest_of(session_id).ok()?;
        let is_absent = matches!(self.check_cache(digest), CacheCheck::Absent)
            && !self.revocations.has_others();
        (!is_absent).then_some(digest)
    }

    async fn check(&self, digest: SessionDigest) -> Result<CheckedSession, AuthError> {
        match self.check_cache(digest) {
            CacheCheck::Live(checked) => Ok(checked),
            CacheCheck::Ended => Err(AuthError::SessionInvalid),
            // Boxed, so that the future of the common case stays small.
            CacheCheck::Absent => Box::pin(self.confirm_absence(digest)).await,
            CacheCheck::Undecided => Box::pin(self.look_up_session(digest)).await,
        }
    }

    /// Checks a session that the cache does not know.
    async fn confirm_absence(&self, digest: SessionDigest) -> Result<CheckedSession, AuthError> {
        if !self.knows_every_open_session().await {
            return self.look_up_session(digest).await;
        }
        match self.check_cache(digest) {
            CacheCheck::Live(checked) => Ok(checked),
            CacheCheck::Ended | CacheCheck::Absent => Err(AuthError::SessionInvalid),
            CacheCheck::Undecided => self.look_up_session(digest).await,
        }
    }

    /// Reads a session and its user from the database.
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
        let reading = self.cache.begin_reading();
        let found = self.db.find_session(digest).await?;
        let Some((session, user)) = found else {
            self.cache.remove(digest);
            return Err(AuthError::SessionInvalid);
        };
        let mut session = self.with_last_use(digest, session);
        let owner = SessionOwner::from(user);
        self.cache
            .insert_looked_up(reading, digest, session.clone(), owner.clone());
        let now = self.clock.now();
        let used = self.settings.session_limits.check(session.times(), now);
        let used = used.ok_or(AuthError::SessionInvalid)?;
        if used.is_to_note {
            self.cache.mark_seen(digest, now);
        }
        session.last_seen_at = used.times.last_seen_at;
        let revision = self.revocations.revision_at(position, now);
        Ok(self.checked(owner, session, used, revision))
    }

    /// A permit to look up a secret in the database that the caller may have invented.
    /// There are fewer permits than connections, so that look-ups leave some connections to
    /// other work.
    ///
    /// # Errors
    ///
    /// `Unavailable` without a permit in time.
    pub(in crate::auth) async fn look_up_permit(&self) -> Result<SemaphorePermit<'_>, AuthError> {
        match time::timeout(PATIENCE, self.look_ups.acquire()).await {
            Ok(Ok(permit)) => Ok(permit),
            _ => {
                let busy = "every connection that look-ups may have is busy";
                Err(DbError::Unavailable(busy.into()).into())
            }
        }
    }

    /// A session from the database, with its [last use](Self::last_use).
    pub(in crate::auth) fn with_last_use(
        &self,
        digest: SessionDigest,
        mut session: Session,
    ) -> Session {
        session.last_seen_at = self.last_use(digest, session.last_seen_at);
        session
    }

    /// The last use of a session: the one in the database, or a later one that is not written
    /// yet. A use dated after now was recorded under a wrong clock.
    pub(in crate::auth) fn last_use(
        &self,
        digest: SessionDigest,
        written: DateTime<Utc>,
    ) -> DateTime<Utc> {
        let latest = self.clock.now() + CLOCK_SKEW;
        let used = self.cache.last_seen_at(digest);
        let used = used.filter(|used| *used <= latest);
        used.map_or(written, |used| used.max(written))
    }

    /// Checks a session against the cache, if it is fresh.
    pub(in crate::auth) fn check_cache(&self, digest: SessionDigest) -> CacheCheck {
        let now = self.clock.now();
        let Some(revision) = self.revocations.current(now) else {
            return CacheCheck::Undecided;
        };
        self.cache
            .look_up(digest, |found| self.evaluate(found, revision, now))
    }

    /// Evaluates a look-up in the cache, and records the use of a session.
    #[inline]
    pub(in crate::auth) fn evaluate(
        &self,
        found: Lookup<'_>,
        revision: Revision,
        now: DateTime<Utc>,
    ) -> CacheCheck {
        let mut cached = match found {
            Lookup::Cached(cached) => cached,
            Lookup::Known => return CacheCheck::Undecided,
            Lookup::Absent => return CacheCheck::Absent,
        };
        let (limits, times) = (&self.settings.session_limits, cached.times());
        let Some(used) = limits.check(times, now) else {
            // Another node may have recorded a later use, but the absolute limit has
            // passed.
            return if times.created_at + limits.absolute <= now {
                CacheCheck::Ended
            } else {
                CacheCheck::Undecided
            };
        };
        if used.is_dated_ahead && self.clock_trust.corrects_future_times() {
            // The database has the session with corrected times, now or soon.
            return CacheCheck::Undecided;
        }
        if used.is_to_note {
            cached.mark_seen(now);
        }
        let session = cached.session(used.times);
        CacheCheck::Live(self.checked(cached.owner(), session, used, revision))
    }

    #[inline]
    fn checked(
        &self,
        owner: SessionOwner,
        session: Session,
        used: SessionUse,
        revision: Revision,
    ) -> CheckedSession {
        let most = MAX_CACHE.min(self.settings.session_limits.last_seen_step());
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

    /// Whether a session absent from the cache does not exist. With several nodes that
    /// holds only after the sessions opened by others were read.
    pub(in crate::auth) async fn knows_every_open_session(&self) -> bool {
        !self.revocations.has_others() || self.revocations.learn_opened_sessions().await
    }
}

/// The digest of a presented `session_id`. Only checks use it, and the replacement of a session
/// at a login ([`Auth::digest_to_replace`]): other operations
/// [`authenticate`](Auth::authenticate) the session first.
pub(in crate::auth) fn digest_of(session_id: &str) -> Result<SessionDigest, AuthError> {
    SessionToken::digest_of(session_id).ok_or(AuthError::SessionInvalid)
}
