//! A person's account.

use chrono::{DateTime, Utc};

use super::{Email, HashedPassword, ResetTokens};

/// Names a user for good; the database gives it out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct UserId(pub i64);

/// Moves on with each change of a user's password. A session that was opened
/// with another version than its user has is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CredentialVersion(pub i64);

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
    /// How often the password was changed.
    pub credential_version: CredentialVersion,
    /// The reset tokens, expired or not, until the password changes.
    pub resets: ResetTokens,
}

/// What a session says of its user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionOwner {
    /// The user's id.
    pub id: UserId,
    /// The user's canonical e-mail.
    pub email: Email,
    /// When the account was registered.
    pub created_at: DateTime<Utc>,
}

impl From<User> for SessionOwner {
    fn from(user: User) -> Self {
        Self {
            id: user.id,
            email: user.email,
            created_at: user.created_at,
        }
    }
}
