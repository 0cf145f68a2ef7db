//! The rules: who may register, who is logged in. One use case per file.
//!
//! The names are those of the service that Bienvenue replaces.

mod decoys;
mod error;
mod login;
mod registration;
mod sessions;

use self::decoys::Decoys;
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
    decoys: Decoys,
}

impl Auth {
    /// Builds the rules from the resources that they use.
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
    ) -> Result<Self, getrandom::Error> {
        Ok(Self {
            db,
            passwords,
            clock,
            password_policy,
            session_limits,
            decoys: Decoys::new()?,
        })
    }
}
