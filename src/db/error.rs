//! What can go wrong with a database.

use std::error::Error;

use diesel::result::{DatabaseErrorKind, Error as DieselError};
use thiserror::Error;

use super::url::DatabaseUrl;

pub(super) type Cause = Box<dyn Error + Send + Sync>;

/// Why a unit of work has no result. Absence is no error, and none of these
/// says anything about a user or a session.
#[derive(Debug, Error)]
pub enum DbError {
    /// The database cannot be reached, or cannot work just now.
    #[error("the database is away")]
    Unavailable(#[source] Cause),
    /// A bug, or data that this service has not written.
    #[error("the database gave what this version cannot use")]
    Fault(#[source] Cause),
}

impl From<DieselError> for DbError {
    fn from(error: DieselError) -> Self {
        use DatabaseErrorKind as Kind;
        match error {
            DieselError::DatabaseError(
                Kind::UniqueViolation
                | Kind::ForeignKeyViolation
                | Kind::NotNullViolation
                | Kind::CheckViolation,
                _,
            ) => Self::Fault(error.into()),
            // A stopping server and a full disk report no kind of their own,
            // so whatever is not plainly our fault counts as the database
            // being away.
            DieselError::DatabaseError(..)
            | DieselError::BrokenTransactionManager
            | DieselError::RollbackErrorOnCommit { .. } => Self::Unavailable(error.into()),
            _ => Self::Fault(error.into()),
        }
    }
}

/// Why the service cannot start on a database: one line for a person. Nothing
/// has been changed then, but that an SQLite file that was missing may be there
/// and empty.
#[derive(Debug, Error)]
#[error("cannot use the database {url}: {problem}")]
pub struct OpenError {
    pub(super) url: DatabaseUrl,
    pub(super) problem: OpenProblem,
}

/// What is wrong with it.
#[derive(Debug, Error)]
pub(super) enum OpenProblem {
    #[error(
        "it is not there and cannot be created ({0}); check that its folder exists and is writable"
    )]
    Create(std::io::Error),
    #[error("it does not open ({0}); check --database-url")]
    Unreachable(String),
    /// By another process, for now.
    #[error("it is locked ({0}); stop the other process that uses it, or wait for it")]
    Locked(String),
    #[error("it is read-only ({0}); give this user the right to write it")]
    ReadOnly(String),
    #[error(
        "it is newer than this version of bienvenue (it has the migration {0}); run the version \
         that wrote it, or a later one"
    )]
    Newer(String),
    #[error("it cannot be migrated ({0}); nothing was changed")]
    Migrate(String),
}

impl OpenProblem {
    /// What a database said that did not open or answer.
    pub(super) fn refused(error: &dyn Error) -> Self {
        Self::known(on_one_line(error)).unwrap_or_else(Self::Unreachable)
    }

    /// What a database says in words of its own, whatever it was asked to do; the
    /// words themselves where they are others.
    pub(super) fn known(cause: String) -> Result<Self, String> {
        if cause.contains("database is locked") || cause.contains("lock timeout") {
            Ok(Self::Locked(cause))
        } else if cause.contains("readonly database") {
            // Also of a file that would have to be written even to be read.
            Ok(Self::ReadOnly(cause))
        } else {
            Err(cause)
        }
    }
}

impl From<DieselError> for OpenProblem {
    fn from(error: DieselError) -> Self {
        Self::refused(&error)
    }
}

/// libpq explains itself over several lines.
pub(super) fn on_one_line(error: &dyn Error) -> String {
    let text = error.to_string();
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}
