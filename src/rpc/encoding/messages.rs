//! Conversions from domain types to generated messages.

use prost::Message;

use super::{
    fields::Fields,
    session_fields::{write_checked, write_session, write_user},
};
use crate::{
    auth::{
        AuthError, CheckedSession, LiveSession, SessionOutcome, sessions::freshness::WatchEvent,
    },
    domain::{RevocationEvent, SessionOwner},
    proto::v1::{self, batch_get_user_by_session_result, watch_revocations_response::Event},
};

/// The size of the buffer for one message, in bytes. Most are shorter.
const BUFFER: usize = 320;

pub(crate) fn user(user: impl Into<SessionOwner>) -> v1::User {
    message(|fields| write_user(fields, &user.into()))
}

pub(crate) fn checked(checked: &CheckedSession) -> v1::GetUserBySessionResponse {
    message(|fields| write_checked(fields, checked))
}

/// A session; `current` if it made the request.
pub(crate) fn session(live: &LiveSession, current: bool) -> v1::Session {
    message(|fields| write_session(fields, live, current))
}

/// The message with these fields.
fn message<M: Message + Default>(write: impl FnOnce(&mut Fields)) -> M {
    let mut fields = Fields::with_room(BUFFER);
    write(&mut fields);
    M::decode(fields.as_bytes()).expect("an encoded message can be decoded")
}

/// The encoded size of a session in a reply at most, with tag and length, in bytes.
pub(crate) const MAX_SESSION_BYTES: usize = 416;

/// The encoded size of a result of a batch at most, in bytes.
const MAX_RESULT_BYTES: usize = 768;

/// The number of failed checks of a batch that get a message. With a message for each,
/// the reply would be thirty times as long as a batch of empty `session_id`s.
pub(crate) const MAX_ERROR_MESSAGES: usize = 16;

/// The encoded size of the reply to a batch of this many sessions at most, in bytes.
pub(crate) fn batch_bytes(session_ids: usize) -> usize {
    session_ids * MAX_RESULT_BYTES
}

/// The results of a batch.
pub(crate) fn outcomes(outcomes: Vec<SessionOutcome>) -> Vec<v1::BatchGetUserBySessionResult> {
    use batch_get_user_by_session_result::Outcome;
    let mut failed = 0;
    let mut outcome_of = |outcome| match outcome {
        Ok(found) => Outcome::Found(checked(&found)),
        Err(error) => {
            failed += 1;
            Outcome::Error(check_error(&error, failed <= MAX_ERROR_MESSAGES))
        }
    };
    let outcomes = outcomes.into_iter();
    let results = outcomes.map(|outcome| v1::BatchGetUserBySessionResult {
        outcome: Some(outcome_of(outcome)),
    });
    results.collect()
}

fn check_error(error: &AuthError, with_message: bool) -> v1::SessionCheckError {
    v1::SessionCheckError {
        reason: error.code().reason().to_owned(),
        message: match with_message {
            true => error.to_string(),
            false => String::new(),
        },
    }
}

pub(crate) fn watch_event(event: WatchEvent) -> v1::WatchRevocationsResponse {
    let (revision, event) = match event {
        WatchEvent::Current(revision) => (revision, Event::Heartbeat(v1::Heartbeat {})),
        WatchEvent::Revoked(revocation) => {
            let user_id = revocation.user_id.0;
            let event = match revocation.event {
                RevocationEvent::SessionEnded {
                    handle: Some(handle),
                    ..
                } => Event::SessionEnded(v1::SessionEnded {
                    handle: handle.to_string(),
                    user_id,
                }),
                // An unreadable handle may name any of the user's sessions.
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

#[cfg(test)]
mod tests {
    use std::{net::Ipv6Addr, time::Duration};

    use chrono::DateTime;

    use super::*;
    use crate::domain::{
        Client, CredentialVersion, Email, Revision, Session, SessionHandle, UserId,
    };

    /// Memory for replies is reserved by these sizes.
    #[test]
    fn no_session_and_no_result_exceeds_its_size() {
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

    /// A request with invented ids is longer than its reply.
    #[test]
    fn a_batch_of_refusals_is_shorter_than_its_request() {
        let refused = (0..256).map(|_| Err(AuthError::SessionInvalid));
        let results = outcomes(refused.collect());
        let response = v1::BatchGetUserBySessionResponse { results };
        let request = v1::BatchGetUserBySessionRequest {
            session_ids: vec!["s".repeat(48); 256],
        };
        assert!(response.encoded_len() < request.encoded_len() / 2);
    }
}
