//! The errors of the rules.

use std::{error::Error, fmt, time::Duration};

use thiserror::Error;

use crate::{
    db::DbError,
    domain::{Email, EmailError},
    error_code::ErrorCode,
    passwords::HashingError,
};

type Cause = Box<dyn Error + Send + Sync>;

/// The delay suggested to callers while the database is unavailable or busy.
const RETRY_DATABASE: Duration = Duration::from_secs(1);

/// A field of a request, by the name in the caller's protocol.
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

/// Why a call failed. The text is for the caller, the cause for the log alone.
#[derive(Debug, Error)]
pub enum AuthError {
    /// A field is missing or invalid.
    #[error("{field} {problem}")]
    InvalidField {
        /// The field.
        field: Field,
        /// The problem with the field and a remedy; a continuation of its
        /// name.
        problem: String,
    },
    /// The e-mail has an account.
    #[error("User {0} already exists")]
    EmailTaken(Email),
    /// The e-mail is unknown or the password is wrong; the text does not say which.
    #[error("unknown e-mail or wrong password")]
    InvalidCredentials,
    /// The current password of a password change is wrong; the session is valid.
    #[error("the current password is wrong")]
    WrongPassword,
    /// The session is missing, expired or revoked.
    #[error("the session is not valid; log in again")]
    SessionInvalid,
    /// The reset token is unknown, used or expired, or belongs to another e-mail.
    #[error("the reset token is not valid; ask for a new one")]
    ResetTokenInvalid,
    /// There is no capacity in time.
    #[error("too many requests at once; try again in a moment")]
    Overloaded {
        /// When to try again.
        retry_after: Duration,
    },
    /// The database is unavailable, or too busy.
    #[error("the database is unavailable or busy; try again in a moment")]
    Unavailable {
        /// When to try again.
        retry_after: Duration,
        /// The cause, for the log.
        #[source]
        cause: Cause,
    },
    /// A bug, or damaged data.
    #[error("something went wrong inside the service; its log has the cause")]
    Internal(#[source] Cause),
}

impl AuthError {
    /// The case, which decides the status in each protocol.
    pub fn code(&self) -> ErrorCode {
        match self {
            Self::InvalidField { .. } => ErrorCode::InvalidField,
            Self::EmailTaken(_) => ErrorCode::EmailTaken,
            Self::InvalidCredentials | Self::WrongPassword => ErrorCode::InvalidCredentials,
            Self::SessionInvalid => ErrorCode::SessionInvalid,
            Self::ResetTokenInvalid => ErrorCode::ResetTokenInvalid,
            Self::Overloaded { .. } => ErrorCode::Overloaded,
            Self::Unavailable { .. } => ErrorCode::Unavailable,
            Self::Internal(_) => ErrorCode::Internal,
        }
    }

    /// When to try again, if that can help.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Overloaded { retry_after } | Self::Unavailable { retry_after, .. } => {
                Some(*retry_after)
            }
            _ => None,
        }
    }

    /// The cause, for the log, unless the caller caused the error.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_error_has_its_code() {
        let retry_after = Duration::from_secs(3);
        let unavailable = AuthError::Unavailable {
            retry_after,
            cause: "cause".into(),
        };
        let email = Email::parse("ada@example.com").unwrap();
        for (error, code, retry) in [
            (
                AuthError::invalid(Field::Email, &EmailError::Missing),
                ErrorCode::InvalidField,
                false,
            ),
            (AuthError::EmailTaken(email), ErrorCode::EmailTaken, false),
            (
                AuthError::InvalidCredentials,
                ErrorCode::InvalidCredentials,
                false,
            ),
            (
                AuthError::WrongPassword,
                ErrorCode::InvalidCredentials,
                false,
            ),
            (AuthError::SessionInvalid, ErrorCode::SessionInvalid, false),
            (
                AuthError::ResetTokenInvalid,
                ErrorCode::ResetTokenInvalid,
                false,
            ),
            (
                AuthError::Overloaded { retry_after },
                ErrorCode::Overloaded,
                true,
            ),
            (unavailable, ErrorCode::Unavailable, true),
            (
                AuthError::Internal("cause".into()),
                ErrorCode::Internal,
                false,
            ),
        ] {
            assert_eq!(error.code(), code, "{error:?}");
            assert_eq!(error.retry_after(), retry.then_some(retry_after));
        }
    }
}
