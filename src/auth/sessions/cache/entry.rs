//! The cached details of one session, in little memory.

use std::{hint::black_box, net::IpAddr, sync::Arc};

use chrono::{DateTime, Utc};

use crate::domain::{
    Client, CredentialVersion, Email, Session, SessionDigest, SessionHandle, SessionOwner,
    SessionTimes, UserId,
};

/// The order decides which fields share a cache line.
#[repr(C)]
pub(super) struct Entry {
    pub(super) digest: SessionDigest,
    handle: SessionHandle,
    ip: IpAddr,
    /// Whether the entry was looked up since the CLOCK hand last passed it.
    pub(super) is_used: bool,
    pub(super) user_agent: Arc<str>,
    user_id: UserId,
    credential_version: CredentialVersion,
    created_at: Microseconds,
    last_seen_at: Microseconds,
    owner_created_at: Microseconds,
    email: Email,
}

impl Entry {
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

    /// Makes the processor fetch the whole entry, which spans several cache lines.
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

    /// Records a use; earlier times than the recorded one are ignored.
    pub(super) fn mark_seen(&mut self, now: DateTime<Utc>) {
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
            client: Client::from_stored(Arc::clone(&self.user_agent), self.ip),
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

/// A time with the precision of both databases, in two thirds of the memory of `DateTime`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Microseconds(i64);

impl From<DateTime<Utc>> for Microseconds {
    fn from(time: DateTime<Utc>) -> Self {
        Self(time.timestamp_micros())
    }
}

impl From<Microseconds> for DateTime<Utc> {
    fn from(time: Microseconds) -> Self {
        // Converted from a valid time.
        Self::from_timestamp_micros(time.0).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// With its slot in the table and an e-mail, a session takes at most 200 bytes.
    #[test]
    fn an_entry_is_small() {
        assert!(size_of::<Entry>() <= 152, "{}", size_of::<Entry>());
    }
}
