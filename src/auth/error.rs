//! All that can come of a call besides success.

use std::{fmt, time::Duration};

use thiserror::Error;

use crate::{
    db::{AddUserError, DbError},
    domain::Email,
    passwords::PasswordsError,
};

type Cause = Box<dyn std::error::Error + Send + Sync>;

/// How long a caller should leave a database alone that is away.
const RETRY_DATABASE: Duration = Duration::from_secs(1);

/// A field of a request, by the name that its caller knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Field {
    /// `email`
    Email,
    /// `password`
    Password,
}

impl fmt::Display for Field {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Email => "email",
            Self::Password => "password",
        })
    }
}

/// What came of a call. The text of the first ones is for the caller; a cause
/// is for the log alone.
#[derive(Debug, Error)]
pub enum AuthError {
    /// A field is missing or not what it should be.
    #[error("{field} {problem}")]
    InvalidField {
        /// Which.
        field: Field,
        /// What is wrong with it and what to write instead; reads on after the
        /// field's name.
        problem: String,
    },
    /// The address has an account.
    #[error("User {0} already exists")]
    EmailTaken(Email),
    /// Unknown address or wrong password; nothing tells which.
    #[error("unknown e-mail or wrong password")]
    InvalidCredentials,
    /// The session is missing, expired or revoked.
    #[error("the session is not valid; log in again")]
    SessionInvalid,
    /// No hashing capacity in time.
    #[error("too many requests at once; try again in a moment")]
    Overloaded {
        /// When to try again.
        retry_after: Duration,
    },
    /// The database is away.
    #[error("the service cannot reach its database; try again in a moment")]
    Unavailable {
        /// When to try again.
        retry_after: Duration,
        /// For the log.
        #[source]
        cause: Cause,
    },
    /// A bug, or damaged data.
    #[error("something went wrong inside the service; its log has the cause")]
    Internal(#[source] Cause),
}

impl AuthError {
    pub(super) fn invalid(field: Field, problem: &impl fmt::Display) -> Self {
        Self::InvalidField {
            field,
            problem: problem.to_string(),
        }
    }

    pub(super) fn internal(cause: impl Into<Cause>) -> Self {
        Self::Internal(cause.into())
    }
}

impl From<DbError> for AuthError {
    fn from(error: DbError) -> Self {
        match error {
            DbError::Unavailable(_) => Self::Unavailable {
                retry_after: RETRY_DATABASE,
                cause: error.into(),
            },
            DbError::Fault(_) => Self::internal(error),
        }
    }
}

impl From<PasswordsError> for AuthError {
    fn from(error: PasswordsError) -> Self {
        match error {
            PasswordsError::Overloaded { retry_after } => Self::Overloaded { retry_after },
            PasswordsError::Unreadable(_)
            | PasswordsError::NoRandomness(_)
            | PasswordsError::Broken => Self::internal(error),
        }
    }
}

impl From<getrandom::Error> for AuthError {
    fn from(error: getrandom::Error) -> Self {
        Self::internal(error)
    }
}

impl AuthError {
    /// What a refused registration means for the one who asked.
    pub(super) fn from_adding(error: AddUserError, email: Email) -> Self {
        match error {
            AddUserError::EmailTaken => Self::EmailTaken(email),
            AddUserError::Db(error) => error.into(),
        }
    }
}
