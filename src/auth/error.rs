//! All that can come of a call besides success.

use std::{error::Error, fmt, time::Duration};

use thiserror::Error;

use crate::{
    db::DbError,
    domain::{Email, EmailError},
    passwords::HashingError,
};

type Cause = Box<dyn Error + Send + Sync>;

/// How long a caller should leave a database alone that is away.
const RETRY_DATABASE: Duration = Duration::from_secs(1);

/// A field of a request, by the name that its caller knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Field {
    /// `email`
    Email,
    /// `password`
    Password,
    /// `current_password`
    CurrentPassword,
    /// `new_password`
    NewPassword,
    /// `handle`
    Handle,
    /// `session_ids`
    SessionIds,
    /// `page_size`
    PageSize,
    /// `page_token`
    PageToken,
}

impl fmt::Display for Field {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Email => "email",
            Self::Password => "password",
            Self::CurrentPassword => "current_password",
            Self::NewPassword => "new_password",
            Self::Handle => "handle",
            Self::SessionIds => "session_ids",
            Self::PageSize => "page_size",
            Self::PageToken => "page_token",
        })
    }
}

/// What came of a call. Each text is for the caller; a cause is for the log
/// alone.
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
    /// The e-mail has an account.
    #[error("User {0} already exists")]
    EmailTaken(Email),
    /// Unknown e-mail or wrong password, without saying which.
    #[error("unknown e-mail or wrong password")]
    InvalidCredentials,
    /// Whoever changes their password has the one that they have wrong; the
    /// session is good.
    #[error("the current password is wrong")]
    WrongPassword,
    /// The session is missing, expired or revoked.
    #[error("the session is not valid; log in again")]
    SessionInvalid,
    /// The reset token is unknown, used or expired, or another's.
    #[error("the reset token is not valid; ask for a new one")]
    ResetTokenInvalid,
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
    /// The case in one word, for programs and the log; every protocol has the
    /// same.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::InvalidField { .. } => "INVALID_FIELD",
            Self::EmailTaken(_) => "EMAIL_TAKEN",
            Self::InvalidCredentials | Self::WrongPassword => "INVALID_CREDENTIALS",
            Self::SessionInvalid => "SESSION_INVALID",
            Self::ResetTokenInvalid => "RESET_TOKEN_INVALID",
            Self::Overloaded { .. } => "OVERLOADED",
            Self::Unavailable { .. } => "UNAVAILABLE",
            Self::Internal(_) => "INTERNAL",
        }
    }

    /// When to try again, where that helps.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Overloaded { retry_after } | Self::Unavailable { retry_after, .. } => {
                Some(*retry_after)
            }
            _ => None,
        }
    }

    /// What led to it, for the log, where it is not the caller's doing.
    pub fn into_cause(self) -> Option<Cause> {
        match self {
            Self::Unavailable { cause, .. } | Self::Internal(cause) => Some(cause),
            _ => None,
        }
    }

    pub(super) fn invalid(field: Field, problem: &impl fmt::Display) -> Self {
        Self::InvalidField {
            field,
            problem: problem.to_string(),
        }
    }
}

impl From<EmailError> for AuthError {
    fn from(error: EmailError) -> Self {
        Self::invalid(Field::Email, &error)
    }
}

impl From<DbError> for AuthError {
    fn from(error: DbError) -> Self {
        match error {
            DbError::Unavailable(_) => Self::Unavailable {
                retry_after: RETRY_DATABASE,
                cause: error.into(),
            },
            DbError::Fault(_) => Self::Internal(error.into()),
        }
    }
}

impl From<HashingError> for AuthError {
    fn from(error: HashingError) -> Self {
        match error {
            HashingError::Overloaded { retry_after } => Self::Overloaded { retry_after },
            HashingError::Unreadable(_)
            | HashingError::NoRandomness(_)
            | HashingError::Panicked => Self::Internal(error.into()),
        }
    }
}

impl From<getrandom::Error> for AuthError {
    fn from(error: getrandom::Error) -> Self {
        Self::Internal(error.into())
    }
}
