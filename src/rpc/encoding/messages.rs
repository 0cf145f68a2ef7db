//! From the domain's types to the wire's.

use chrono::{DateTime, Utc};
use prost_types::Timestamp;

use crate::{
    auth::{AuthError, CheckedSession, LiveSession, sessions::freshness::Told},
    domain::{RevocationEvent, SessionOwner},
    proto::v1::{self, batch_get_user_by_session_result, watch_revocations_response::Event},
};

pub(crate) fn user(user: impl Into<SessionOwner>) -> v1::User {
    let user = user.into();
    v1::User {
        id: user.id.0,
        email: user.email.into(),
        created_at: Some(timestamp(user.created_at)),
    }
}

pub(crate) fn checked(checked: CheckedSession) -> v1::GetUserBySessionResponse {
    v1::GetUserBySessionResponse {
        session: Some(session(&checked.live, true)),
        user: Some(user(checked.owner)),
        revision: checked.revision.0,
        // At most a setting's ten years.
        cache_for: prost_types::Duration::try_from(checked.cache_for).ok(),
    }
}

/// The most bytes that a session takes in a reply, with its length and its tag.
pub(crate) const MAX_SESSION_BYTES: usize = 416;

/// The same of a result of a batch.
const MAX_RESULT_BYTES: usize = 768;

/// How many refused sessions of a batch have their reason put into words. All of them in
/// words would be thirty times as long as a batch of empty `session_id`s.
pub(crate) const MOST_IN_WORDS: usize = 16;

/// The most bytes that the reply to a batch of so many sessions takes.
pub(crate) fn batch_bytes(session_ids: usize) -> usize {
    session_ids * MAX_RESULT_BYTES
}

/// The results of a batch.
pub(crate) fn outcomes(
    outcomes: Vec<Result<CheckedSession, AuthError>>,
) -> Vec<v1::BatchGetUserBySessionResult> {
    use batch_get_user_by_session_result::Outcome;
    let mut refused = 0;
    let mut outcome_of = |outcome| match outcome {
        Ok(found) => Outcome::Found(checked(found)),
        Err(error) => {
            refused += 1;
            Outcome::Error(refusal(&error, refused <= MOST_IN_WORDS))
        }
    };
    let outcomes = outcomes.into_iter();
    let results = outcomes.map(|outcome| v1::BatchGetUserBySessionResult {
        outcome: Some(outcome_of(outcome)),
    });
    results.collect()
}

fn refusal(error: &AuthError, in_words: bool) -> v1::SessionCheckError {
    v1::SessionCheckError {
        reason: error.code().reason().to_owned(),
        message: match in_words {
            true => error.to_string(),
            false => String::new(),
        },
    }
}

pub(crate) fn told(told: Told) -> v1::WatchRevocationsResponse {
    let (revision, event) = match told {
        Told::Current(revision) => (revision, Event::Heartbeat(v1::Heartbeat {})),
        Told::Revoked(revocation) => {
            let user_id = revocation.user_id.0;
            let event = match revocation.event {
                RevocationEvent::SessionEnded {
                    handle: Some(handle),
                    ..
                } => Event::SessionEnded(v1::SessionEnded {
                    handle: handle.to_string(),
                    user_id,
                }),
                // One that cannot be named may be any of the user's.
                RevocationEvent::SessionEnded { handle: None, .. }
                | RevocationEvent::UserSessionsEnded => {
                    Event::UserSessionsEnded(v1::UserSessionsEnded { user_id })
                }
                RevocationEvent::UserChanged => Event::UserChanged(v1::UserChanged { user_id }),
            };
            (revocation.revision, event)
        }
    };
    v1::WatchRevocationsResponse {
        revision: revision.0,
        event: Some(event),
    }
}

/// A session; `current` when the request itself was made with it.
pub(crate) fn session(live: &LiveSession, current: bool) -> v1::Session {
    let session = &live.session;
    v1::Session {
        handle: session.handle.to_string(),
        created_at: Some(timestamp(session.created_at)),
        last_seen_at: Some(timestamp(session.last_seen_at)),
        expires_at: Some(timestamp(live.expires_at)),
        user_agent: session.client.user_agent().to_string(),
        ip: session.client.ip().to_string(),
        current,
    }
}

fn timestamp(time: DateTime<Utc>) -> Timestamp {
    Timestamp {
        seconds: time.timestamp(),
        // Below 10^9, so below i32::MAX.
        nanos: time.timestamp_subsec_nanos().cast_signed(),
    }
}

#[cfg(test)]
mod tests {
    use std::{net::Ipv6Addr, time::Duration};

    use prost::Message as _;

    use super::*;
    use crate::domain::{
        Client, CredentialVersion, Email, Revision, Session, SessionHandle, UserId,
    };

    /// Room for replies is taken by these sizes.
    #[test]
    fn no_session_and_no_result_takes_more_than_is_said() {
        let last = DateTime::from_timestamp_micros(253_402_300_799_999_999).unwrap();
        let ip = Ipv6Addr::from_bits(u128::MAX).into();
        let domain = vec!["d".repeat(60); 3].join(".");
        let email = format!("{}@{domain}.example", "l".repeat(60));
        let checked = CheckedSession {
            owner: SessionOwner {
                id: UserId(i64::MAX),
                email: Email::parse(&email).unwrap(),
                created_at: last,
            },
            live: LiveSession {
                session: Session {
                    handle: SessionHandle::generate(),
                    user_id: UserId(i64::MAX),
                    credential_version: CredentialVersion(1),
                    created_at: last,
                    last_seen_at: last,
                    client: Client::new(&"u".repeat(1_000), ip),
                },
                expires_at: last,
            },
            revision: Revision(i64::MAX),
            cache_for: Duration::new(u64::from(u32::MAX), 999_999_999),
        };
        let response = v1::ListSessionsResponse {
            sessions: vec![session(&checked.live, true)],
            ..Default::default()
        };
        let bytes = response.encoded_len();
        assert!((350..=MAX_SESSION_BYTES).contains(&bytes), "{bytes}");
        let results = outcomes(vec![Ok(checked)]);
        let bytes = v1::BatchGetUserBySessionResponse { results }.encoded_len();
        assert!((600..=MAX_RESULT_BYTES).contains(&bytes), "{bytes}");
    }

    /// Made-up ids cost whoever sends them more than they bring back.
    #[test]
    fn a_batch_of_refusals_is_shorter_than_its_question() {
        let refused = (0..256).map(|_| Err(AuthError::SessionInvalid));
        let results = outcomes(refused.collect());
        let response = v1::BatchGetUserBySessionResponse { results };
        let request = v1::BatchGetUserBySessionRequest {
            session_ids: vec!["s".repeat(48); 256],
        };
        assert!(response.encoded_len() < request.encoded_len() / 2);
    }
}
