//! From the domain's types to the wire's.

use chrono::{DateTime, Utc};
use prost_types::Timestamp;

use crate::{auth::LiveSession, domain, proto::v1};

pub(super) fn user(user: &domain::User) -> v1::User {
    v1::User {
        id: user.id.0,
        email: user.email.to_string(),
        created_at: Some(timestamp(user.created_at)),
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
        user_agent: session.client.user_agent().to_owned(),
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
