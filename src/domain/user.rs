//! User accounts.

use chrono::{DateTime, Utc};

use super::{Email, HashedPassword, ResetTokens};

/// The permanent id of a user, assigned by the database.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct UserId(pub i64);

/// Increases with each change of a user's password. A session with another version than its
/// user's is invalid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CredentialVersion(pub i64);

/// A stored user account.
#[derive(Clone, Debug)]
pub struct User {
    /// Assigned at registration, never reused.
    pub id: UserId,
    /// The canonical e-mail, unique among users.
    pub email: Email,
    /// The hash that presented passwords are checked against.
    pub hashed_password: HashedPassword,
    /// When the account was registered.
    pub created_at: DateTime<Utc>,
    /// The number of password changes.
    pub credential_version: CredentialVersion,
    /// The reset tokens, expired or not, until the password changes.
    pub resets: ResetTokens,
}

/// The owner of a session, as a check returns it.
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
