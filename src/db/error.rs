//! What can go wrong with a database.

use diesel::result::{DatabaseErrorKind, Error as DieselError};
use thiserror::Error;

use super::url::DatabaseUrl;

type Cause = Box<dyn std::error::Error + Send + Sync>;

/// Why a unit of work has no result. Absence is no error, and neither of these
/// says anything about a user or a session.
#[derive(Debug, Error)]
pub enum DbError {
    /// The database cannot be reached, or cannot work just now.
    #[error("the database is away: {0}")]
    Unavailable(#[source] Cause),
    /// A bug, or data that this service has not written.
    #[error("the database and this version do not fit: {0}")]
    Fault(#[source] Cause),
}

impl From<DieselError> for DbError {
    fn from(error: DieselError) -> Self {
        use DatabaseErrorKind as Kind;
        match error {
            // What a server that goes down or a disk that is full answers has
            // no kind of its own: all that is not plainly ours is theirs.
            DieselError::DatabaseError(
                Kind::UniqueViolation
                | Kind::ForeignKeyViolation
                | Kind::NotNullViolation
                | Kind::CheckViolation,
                _,
            ) => Self::Fault(error.into()),
            DieselError::DatabaseError(..)
            | DieselError::BrokenTransactionManager
            | DieselError::RollbackErrorOnCommit { .. } => Self::Unavailable(error.into()),
            _ => Self::Fault(error.into()),
        }
    }
}

/// Why the service cannot start on a database. Each is one line for a person.
#[derive(Debug, Error)]
pub enum OpenError {
    /// The SQLite file is missing and cannot be created.
    #[error(
        "cannot create the database {url}: {cause}; check that its folder exists and is writable"
    )]
    Create {
        /// Where it should be.
        url: DatabaseUrl,
        /// Why it is not.
        cause: std::io::Error,
    },
    /// It cannot be opened, or is no database.
    #[error("cannot open the database {url}: {cause}")]
    Unreachable {
        /// Which.
        url: DatabaseUrl,
        /// What the database or its library said.
        cause: String,
    },
    /// It cannot be written to.
    #[error("the database {url} is read-only ({cause}); give this user the right to write it")]
    ReadOnly {
        /// Which.
        url: DatabaseUrl,
        /// What the database said.
        cause: String,
    },
    /// A later version has migrated it.
    #[error(
        "the database {url} is newer than this version of bienvenue (it has migration {version}); \
         run the version that wrote it, or a later one"
    )]
    Newer {
        /// Which.
        url: DatabaseUrl,
        /// A migration that this version does not have.
        version: String,
    },
    /// A migration failed and was rolled back.
    #[error("cannot migrate the database {url}: {cause}; nothing was changed")]
    Migrate {
        /// Which.
        url: DatabaseUrl,
        /// What the database said.
        cause: Cause,
    },
}

impl OpenError {
    /// Says what a database said that did not open.
    pub(super) fn refused(url: &DatabaseUrl, error: &dyn std::error::Error) -> Self {
        // libpq explains itself over several lines.
        let text = error.to_string();
        let cause = text.split_whitespace().collect::<Vec<_>>().join(" ");
        let url = url.clone();
        // SQLite's text for a file that needs to be written even to be read.
        if cause.contains("readonly database") {
            Self::ReadOnly { url, cause }
        } else {
            Self::Unreachable { url, cause }
        }
    }
}
