//! From the domain's types to the wire's.

use chrono::{DateTime, Utc};
use prost_types::Timestamp;

use crate::{
    auth::{AuthError, CheckedSession, LiveSession},
    domain::{RevocationEvent, SessionOwner},
    proto::v1::{self, batch_get_user_by_session_result, watch_revocations_response::Event},
    revocations::Told,
};

pub(super) fn user(user: impl Into<SessionOwner>) -> v1::User {
    let user = user.into();
    v1::User {
        id: user.id.0,
        email: user.email.into(),
        created_at: Some(timestamp(user.created_at)),
    }
}

pub(super) fn checked(checked: CheckedSession) -> v1::GetUserBySessionResponse {
    v1::GetUserBySessionResponse {
        session: Some(session(&checked.live, true)),
        user: Some(user(checked.owner)),
        revision: checked.revision.0,
        // At most a setting's ten years.
        cache_for: prost_types::Duration::try_from(checked.cache_for).ok(),
    }
}

pub(super) fn outcome(
    outcome: Result<CheckedSession, AuthError>,
) -> v1::BatchGetUserBySessionResult {
    use batch_get_user_by_session_result::Outcome;
    v1::BatchGetUserBySessionResult {
        outcome: Some(match outcome {
            Ok(found) => Outcome::Found(checked(found)),
            Err(error) => Outcome::Error(v1::SessionCheckError {
                reason: error.reason().to_owned(),
                message: error.to_string(),
            }),
        }),
    }
}

pub(super) fn told(told: Told) -> v1::WatchRevocationsResponse {
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
pub(super) fn session(live: &LiveSession, current: bool) -> v1::Session {
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
