//! What ended sessions, or changed what is said of a user.

use super::{SessionDigest, SessionHandle, UserId};

/// A place in the log of revocations. Later ones are greater; most numbers are never
/// used, so that the revision of one log is hardly ever that of another. 0 is before
/// the first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Revision(pub i64);

/// One entry of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Revocation {
    /// Its place.
    pub revision: Revision,
    /// Whom it is about.
    pub user_id: UserId,
    /// What happened.
    pub event: RevocationEvent,
}

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RevocationEvent {
    /// A session ended, for whatever reason.
    SessionEnded {
        /// What it is found by.
        digest: SessionDigest,
        /// Its name; `None` where what was stored is none.
        handle: Option<SessionHandle>,
    },
    /// Every session of the user that was open then ended.
    UserSessionsEnded,
    /// The user's e-mail or time of registration changed.
    UserChanged,
}
