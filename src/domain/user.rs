//! A person's account.

use chrono::{DateTime, Utc};

use super::{Email, HashedPassword};

/// Names a user for good; the database gives it out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct UserId(pub i64);

/// A person's account, as stored.
#[derive(Clone, Debug)]
pub struct User {
    /// Given at registration, never reused.
    pub id: UserId,
    /// The canonical e-mail, unique among users.
    pub email: Email,
    /// What to compare a presented password with.
    pub hashed_password: HashedPassword,
    /// When the account was registered.
    pub created_at: DateTime<Utc>,
}
