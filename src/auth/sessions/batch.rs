//! Whose sessions many are, in one go.

use tokio::task::JoinSet;

use super::check::{Recalled, digest_of};
use crate::auth::{Auth, AuthError, CheckedSession, Field};
use crate::domain::SessionDigest;

/// The most sessions that one call checks.
const MOST_AT_ONCE: usize = 256;

type Outcome = Result<CheckedSession, AuthError>;

/// What memory could not answer: by the place in the batch.
#[derive(Default)]
struct Open {
    /// Memory knows of none.
    unknown: Vec<(usize, SessionDigest)>,
    /// Memory cannot say.
    unsure: Vec<(usize, SessionDigest)>,
}

impl Auth {
    /// Whose sessions these are, at most 256, each with an outcome of its own, in
    /// the order of the `session_ids`; a check counts as use.
    ///
    /// # Errors
    ///
    /// `InvalidField` when there are more.
    pub async fn get_users_from_session_ids(
        &self,
        session_ids: &[&str],
    ) -> Result<Vec<Outcome>, AuthError> {
        if session_ids.len() > MOST_AT_ONCE {
            let problem = format!("has more than {MOST_AT_ONCE}; ask in several calls");
            return Err(AuthError::invalid(Field::SessionIds, &problem));
        }
        let (mut outcomes, mut open) = self.recall_many(session_ids);
        if !open.unknown.is_empty() && self.knows_all_that_is_open().await {
            for (place, digest) in std::mem::take(&mut open.unknown) {
                match self.recall(digest) {
                    Recalled::Live(checked) => outcomes[place] = Ok(checked),
                    Recalled::Ended | Recalled::Nothing => {}
                    Recalled::Unsure => open.unsure.push((place, digest)),
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

    /// What memory says of each, and what is still open: refused, for now.
    fn recall_many(&self, session_ids: &[&str]) -> (Vec<Outcome>, Open) {
        let now = self.clock.now();
        let revision = self.revocations.current(now);
        let mut places = Vec::with_capacity(session_ids.len());
        let mut digests = Vec::with_capacity(session_ids.len());
        for (place, session_id) in session_ids.iter().enumerate() {
            // What is no session_id at all is looked for nowhere.
            if let Ok(digest) = digest_of(session_id) {
                places.push(place);
                digests.push(digest);
            }
        }
        let mut outcomes = Vec::with_capacity(session_ids.len());
        outcomes.resize_with(session_ids.len(), || Err(AuthError::SessionInvalid));
        let mut open = Open::default();
        let Some(revision) = revision else {
            open.unsure = places.into_iter().zip(digests).collect();
            return (outcomes, open);
        };
        self.index.look_up_many(&digests, |asked, found| {
            let place = places[asked];
            match self.take(found, revision, now) {
                Recalled::Live(checked) => outcomes[place] = Ok(checked),
                Recalled::Ended => {}
                Recalled::Nothing => open.unknown.push((place, digests[asked])),
                Recalled::Unsure => open.unsure.push((place, digests[asked])),
            }
        });
        (outcomes, open)
    }
}
