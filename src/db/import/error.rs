//! The errors of an import, one line each.

use std::error::Error;

use thiserror::Error;

use crate::db::{
    error::{OpenError, OpenProblem, on_one_line},
    url::DatabaseUrl,
};

/// The source cannot be imported from. It has not been changed.
#[derive(Debug, Error)]
#[error("cannot import from the database {url}: {problem}")]
pub struct SourceError {
    pub(super) url: DatabaseUrl,
    pub(super) problem: SourceProblem,
}

/// The problem with a source.
#[derive(Debug, Error)]
pub(super) enum SourceProblem {
    #[error("it does not exist; check --from")]
    Missing,
    #[error(
        "it does not exist, but {0} does, in the working directory: SQLAlchemy's sqlite:///{0} is \
         sqlite:{0} here"
    )]
    MissingAbsolute(String),
    #[error("it cannot be read ({0}); check --from")]
    Unreadable(String),
    #[error("it is locked ({0}); stop the service that uses it, then try again")]
    Locked(String),
    #[error(
        "it was left in the middle of a write ({0}); start and stop the service that wrote it \
         once, then try again"
    )]
    Unclean(String),
    #[error("its texts are in UTF-16; copy it into a database in UTF-8 first")]
    Encoding,
    #[error(
        "it has no table {0}; an import needs one with id, email and hashed_password, under these \
         or other names (--table, --columns)"
    )]
    NoTable(String),
    #[error(
        "its table {table} has no column {column}; an import needs id, email and \
         hashed_password, under these or other names (--columns), and ignores the others"
    )]
    NoColumn { table: String, column: String },
    #[error("its column {column} has the type {found}; an import needs {needed}")]
    ColumnType {
        column: String,
        found: String,
        needed: &'static str,
    },
    #[error("it was written to during the import; stop the service that uses it, then try again")]
    Changed,
    #[error("--database-url names the same database; name another one to import into")]
    Same,
}

impl SourceProblem {
    /// The problem behind an error in connecting or in a statement.
    pub(super) fn refused(error: &dyn Error) -> Self {
        match OpenProblem::refused(error) {
            OpenProblem::Locked(cause) => Self::Locked(cause),
            OpenProblem::ReadOnly(cause) => Self::Unclean(cause),
            _ => Self::Unreadable(on_one_line(error)),
        }
    }
}

impl From<diesel::result::Error> for SourceProblem {
    fn from(error: diesel::result::Error) -> Self {
        Self::refused(&error)
    }
}

/// The users cannot be imported into the target.
#[derive(Debug, Error)]
pub enum TargetError {
    /// It cannot be opened, or does not belong to this service.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// It failed during the import.
    #[error(
        "the database {url} failed during the import ({cause}); no user was imported: repair it, \
         then try again"
    )]
    Broken {
        /// The database.
        url: DatabaseUrl,
        /// Its message.
        cause: String,
    },
    /// It did not respond to the commit.
    #[error(
        "the database {url} failed at the last step ({cause}), and the users may or may not have \
         been imported: repeat the import, which does not change existing users"
    )]
    InDoubt {
        /// The database.
        url: DatabaseUrl,
        /// Its message.
        cause: String,
    },
}
