//! What is held of one session, as small as it goes.

use std::{hint::black_box, net::IpAddr, sync::Arc};

use chrono::{DateTime, Utc};

use crate::domain::{
    Client, CredentialVersion, Email, Session, SessionDigest, SessionHandle, SessionOwner,
    SessionTimes, UserId,
};

/// In this order, so that it is known which fields lie apart.
#[repr(C)]
pub(super) struct Record {
    pub(super) digest: SessionDigest,
    handle: SessionHandle,
    ip: IpAddr,
    /// Whether it was looked up since the hand came by.
    pub(super) is_used: bool,
    pub(super) user_agent: Arc<str>,
    user_id: UserId,
    credential_version: CredentialVersion,
    created_at: Microseconds,
    last_seen_at: Microseconds,
    owner_created_at: Microseconds,
    email: Email,
}

impl Record {
    pub(super) fn new(
        digest: SessionDigest,
        session: &Session,
        owner: &SessionOwner,
        user_agent: Arc<str>,
    ) -> Self {
        Self {
            digest,
            handle: session.handle,
            ip: session.client.ip(),
            is_used: false,
            user_agent,
            user_id: owner.id,
            credential_version: session.credential_version,
            created_at: session.created_at.into(),
            last_seen_at: session.last_seen_at.into(),
            owner_created_at: owner.created_at.into(),
            email: owner.email.clone(),
        }
    }

    /// Has the processor fetch all of it, which is more than one cache line.
    #[inline]
    pub(super) fn fetch(&self) {
        black_box((
            self.digest.as_bytes()[0],
            self.is_used,
            self.email.as_str().len(),
        ));
    }

    pub(super) fn user_id(&self) -> UserId {
        self.user_id
    }

    pub(super) fn last_seen_at(&self) -> DateTime<Utc> {
        self.last_seen_at.into()
    }

    /// Later uses alone count.
    pub(super) fn touch(&mut self, now: DateTime<Utc>) {
        self.last_seen_at = self.last_seen_at.max(now.into());
    }

    #[inline]
    pub(super) fn times(&self) -> SessionTimes {
        SessionTimes {
            created_at: self.created_at.into(),
            last_seen_at: self.last_seen_at.into(),
        }
    }

    #[inline]
    pub(super) fn session(&self, times: SessionTimes) -> Session {
        Session {
            handle: self.handle,
            user_id: self.user_id,
            credential_version: self.credential_version,
            created_at: times.created_at,
            last_seen_at: times.last_seen_at,
            client: Client::kept(Arc::clone(&self.user_agent), self.ip),
        }
    }

    #[inline]
    pub(super) fn owner(&self) -> SessionOwner {
        SessionOwner {
            id: self.user_id,
            email: self.email.clone(),
            created_at: self.owner_created_at.into(),
        }
    }
}

/// A time as both databases keep it, in two thirds of the room.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Microseconds(i64);

impl From<DateTime<Utc>> for Microseconds {
    fn from(time: DateTime<Utc>) -> Self {
        Self(time.timestamp_micros())
    }
}

impl From<Microseconds> for DateTime<Utc> {
    fn from(time: Microseconds) -> Self {
        // It was a time before.
        Self::from_timestamp_micros(time.0).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// With its place in the table and an e-mail, a session is to take 200 bytes.
    #[test]
    fn a_record_is_small() {
        assert!(size_of::<Record>() <= 152, "{}", size_of::<Record>());
    }
}
