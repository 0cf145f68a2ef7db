//! The rules: who may register, who is logged in. One use case per file.
//!
//! The names are those of the service that Bienvenue replaces.

mod error;
mod login;
mod registration;
mod sessions;

use crate::{
    clock::Clock,
    db::Db,
    domain::{PasswordPolicy, SessionLimits},
    passwords::Passwords,
};

pub use error::{AuthError, Field};
pub use sessions::{LiveSession, OpenedSession};

/// Accounts and sessions, shared by everyone. Cheap to clone.
#[derive(Clone)]
pub struct Auth {
    db: Db,
    passwords: Passwords,
    clock: Clock,
    password_policy: PasswordPolicy,
    session_limits: SessionLimits,
    decoys: login::Decoys,
}

impl Auth {
    /// Puts the rules on top of what they need.
    ///
    /// # Errors
    ///
    /// When the operating system gives no randomness.
    pub fn new(
        db: Db,
        passwords: Passwords,
        clock: Clock,
        password_policy: PasswordPolicy,
        session_limits: SessionLimits,
    ) -> Result<Self, AuthError> {
        Ok(Self {
            db,
            passwords,
            clock,
            password_policy,
            session_limits,
            decoys: login::Decoys::new()?,
        })
    }
}
