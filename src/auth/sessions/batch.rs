//! Checking many sessions in one call.

use tokio::task::JoinSet;

use super::check::{CacheCheck, digest_of};
use crate::auth::{Auth, AuthError, CheckedSession, Field};
use crate::{domain::SessionDigest, request_context::RequestContext};

/// The largest number of sessions in one call.
const MOST_AT_ONCE: usize = 256;

type Outcome = Result<CheckedSession, AuthError>;

/// The sessions that the cache cannot decide, with their indices in the batch.
#[derive(Default)]
struct Unanswered {
    /// The cache does not know the session.
    unknown: Vec<(usize, SessionDigest)>,
    /// The cache cannot decide.
    unsure: Vec<(usize, SessionDigest)>,
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
    ) -> Result<Vec<Outcome>, AuthError> {
        if session_ids.len() > MOST_AT_ONCE {
            let problem = format!("has more than {MOST_AT_ONCE}; ask in several calls");
            return Err(AuthError::invalid(Field::SessionIds, &problem));
        }
        let (mut outcomes, mut open) = self.check_cache_for_all(session_ids);
        if !open.unknown.is_empty() && self.knows_every_open_session().await {
            for (place, digest) in std::mem::take(&mut open.unknown) {
                match self.check_cache(digest) {
                    CacheCheck::Live(checked) => outcomes[place] = Ok(checked),
                    CacheCheck::Ended | CacheCheck::Absent => {}
                    CacheCheck::Undecided => open.unsure.push((place, digest)),
                }
            }
        }
        open.unsure.append(&mut open.unknown);
        let mut looking = JoinSet::new();
        for (place, digest) in open.unsure {
            let auth = self.clone();
            looking.spawn(async move { (place, auth.look_up_session(digest).await) });
        }
        while let Some(joined) = looking.join_next().await {
            let (place, outcome) = joined.map_err(|panic| AuthError::Internal(panic.into()))?;
            outcomes[place] = outcome;
        }
        Ok(outcomes)
    }

    /// Checks all against the cache. Sessions that it cannot decide are refused for now.
    fn check_cache_for_all(&self, session_ids: &[&str]) -> (Vec<Outcome>, Unanswered) {
        let now = self.clock.now();
        let revision = self.revocations.current(now);
        let mut places = Vec::with_capacity(session_ids.len());
        let mut digests = Vec::with_capacity(session_ids.len());
        for (place, session_id) in session_ids.iter().enumerate() {
            // A malformed session_id is not looked up.
            if let Ok(digest) = digest_of(session_id) {
                places.push(place);
                digests.push(digest);
            }
        }
        let mut outcomes = Vec::with_capacity(session_ids.len());
        outcomes.resize_with(session_ids.len(), || Err(AuthError::SessionInvalid));
        let mut open = Unanswered::default();
        let Some(revision) = revision else {
            open.unsure = places.into_iter().zip(digests).collect();
            return (outcomes, open);
        };
        self.cache.look_up_many(&digests, |asked, found| {
            let place = places[asked];
            match self.take(found, revision, now) {
                CacheCheck::Live(checked) => outcomes[place] = Ok(checked),
                CacheCheck::Ended => {}
                CacheCheck::Absent => open.unknown.push((place, digests[asked])),
                CacheCheck::Undecided => open.unsure.push((place, digests[asked])),
            }
        });
        (outcomes, open)
    }
}
