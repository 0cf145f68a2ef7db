//! Revocations: events that end sessions or change the owner returned by a check.

use super::{SessionDigest, SessionHandle, UserId};

/// A position in the log of revocations. Later ones are greater. Most numbers are never
/// used, so that a revision of one log hardly ever occurs in another. 0 precedes the first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Revision(pub i64);

/// An entry of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Revocation {
    /// Its position.
    pub revision: Revision,
    /// The user concerned.
    pub user_id: UserId,
    /// The event.
    pub event: RevocationEvent,
}

/// The event of a revocation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RevocationEvent {
    /// A session ended, for whatever reason.
    SessionEnded {
        /// The digest of the session.
        digest: SessionDigest,
        /// The handle of the session; `None` if the stored one is invalid.
        handle: Option<SessionHandle>,
    },
    /// Every open session of the user ended.
    UserSessionsEnded,
    /// The user's e-mail or time of registration changed.
    UserChanged,
}
