//! Whose sessions many are, in one go.

use tokio::task::JoinSet;

use super::{
    Auth, AuthError, CheckedSession, Field, session_checks::Recalled, sessions::digest_of,
};
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
        session_ids: &[String],
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
    fn recall_many(&self, session_ids: &[String]) -> (Vec<Outcome>, Open) {
        let now = self.clock.now();
        let revision = self.revocations.current(now);
        // What is no session_id at all is looked for nowhere.
        let digests: Vec<Option<SessionDigest>> = session_ids
            .iter()
            .map(|session_id| digest_of(session_id).ok())
            .collect();
        let asked: Vec<SessionDigest> = digests.iter().flatten().copied().collect();
        let mut found = self.index.look_up_many(&asked).into_iter();
        let (mut outcomes, mut open) = (Vec::with_capacity(digests.len()), Open::default());
        for (place, digest) in digests.into_iter().enumerate() {
            let next = digest.and_then(|digest| Some((digest, found.next()?)));
            let outcome = next.and_then(|(digest, found)| {
                let recalled = match revision {
                    Some(revision) => self.take(digest, found, revision, now),
                    None => Recalled::Unsure,
                };
                match recalled {
                    Recalled::Live(checked) => return Some(checked),
                    Recalled::Ended => {}
                    Recalled::Nothing => open.unknown.push((place, digest)),
                    Recalled::Unsure => open.unsure.push((place, digest)),
                }
                None
            });
            outcomes.push(outcome.ok_or(AuthError::SessionInvalid));
        }
        (outcomes, open)
    }
}
