//! Checking many sessions in one call.

use tokio::task::JoinSet;

use super::check::{CacheCheck, digest_of};
use crate::auth::{Auth, AuthError, CheckedSession, Field};
use crate::{domain::SessionDigest, request_context::RequestContext};

/// The largest number of sessions in one call.
const MAX_SESSIONS: usize = 256;

/// The outcome of one check of a batch.
pub type SessionOutcome = Result<CheckedSession, AuthError>;

/// The sessions that the cache cannot decide, with their indices in the batch.
#[derive(Default)]
struct Unanswered {
    /// The cache does not know the session.
    absent: Vec<(usize, SessionDigest)>,
    /// The cache cannot decide.
    undecided: Vec<(usize, SessionDigest)>,
}

impl Auth {
    /// Checks at most 256 sessions, each with its own outcome, in the order of the
    /// `session_ids`. A check counts as use.
    ///
    /// # Errors
    ///
    /// `InvalidField` for more than 256.
    pub async fn get_users_from_session_ids(
        &self,
        session_ids: &[&str],
        _context: &RequestContext<'_>,
    ) -> Result<Vec<SessionOutcome>, AuthError> {
        if session_ids.len() > MAX_SESSIONS {
            let problem = format!("has more than {MAX_SESSIONS}; ask in several calls");
            return Err(AuthError::invalid(Field::SessionIds, &problem));
        }
        let (mut outcomes, mut unanswered) = self.check_cache_for_all(session_ids);
        if !unanswered.absent.is_empty() && self.knows_every_open_session().await {
            for (index, digest) in std::mem::take(&mut unanswered.absent) {
                match self.check_cache(digest) {
                    CacheCheck::Live(checked) => outcomes[index] = Ok(checked),
                    CacheCheck::Ended | CacheCheck::Absent => {}
                    CacheCheck::Undecided => unanswered.undecided.push((index, digest)),
                }
            }
        }
        unanswered.undecided.append(&mut unanswered.absent);
        let mut look_ups = JoinSet::new();
        for (index, digest) in unanswered.undecided {
            let auth = self.clone();
            look_ups.spawn(async move { (index, auth.look_up_session(digest).await) });
        }
        while let Some(joined) = look_ups.join_next().await {
            let (index, outcome) = joined.map_err(|panic| AuthError::Internal(panic.into()))?;
            outcomes[index] = outcome;
        }
        Ok(outcomes)
    }

    /// Checks all against the cache. Sessions that it cannot decide are refused for now.
    fn check_cache_for_all(&self, session_ids: &[&str]) -> (Vec<SessionOutcome>, Unanswered) {
        let now = self.clock.now();
        let revision = self.revocations.current(now);
        let mut indices = Vec::with_capacity(session_ids.len());
        let mut digests = Vec::with_capacity(session_ids.len());
        for (index, session_id) in session_ids.iter().enumerate() {
            // A malformed session_id is not looked up.
            if let Ok(digest) = digest_of(session_id) {
                indices.push(index);
                digests.push(digest);
            }
        }
        let mut outcomes = Vec::with_capacity(session_ids.len());
        outcomes.resize_with(session_ids.len(), || Err(AuthError::SessionInvalid));
        let mut unanswered = Unanswered::default();
        let Some(revision) = revision else {
            unanswered.undecided = indices.into_iter().zip(digests).collect();
            return (outcomes, unanswered);
        };
        self.cache.look_up_many(&digests, |asked, found| {
            let index = indices[asked];
            match self.evaluate(found, revision, now) {
                CacheCheck::Live(checked) => outcomes[index] = Ok(checked),
                CacheCheck::Ended => {}
                CacheCheck::Absent => unanswered.absent.push((index, digests[asked])),
                CacheCheck::Undecided => unanswered.undecided.push((index, digests[asked])),
            }
        });
        (outcomes, unanswered)
    }
}
