//! Why an import cannot begin or go on: one line for a person each.

use std::error::Error;

use thiserror::Error;

use crate::db::{
    error::{OpenError, OpenProblem, on_one_line},
    url::DatabaseUrl,
};

/// The source cannot be imported from. It is as it was.
#[derive(Debug, Error)]
#[error("cannot import from the database {url}: {problem}")]
pub struct SourceError {
    pub(super) url: DatabaseUrl,
    pub(super) problem: SourceProblem,
}

/// What is wrong with it.
#[derive(Debug, Error)]
pub(super) enum SourceProblem {
    #[error("it is not there; check --from")]
    Missing,
    #[error(
        "it is not there, but {0} is, in the working directory: SQLAlchemy's sqlite:///{0} is \
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
        "it has no table {0}; an import needs one with id, email and hashed_password, of \
         whatever name (--table, --columns)"
    )]
    NoTable(String),
    #[error(
        "its table {table} has no column {column}; an import needs id, email and \
         hashed_password, of whatever name (--columns), and leaves the others"
    )]
    NoColumn { table: String, column: String },
    #[error("its column {column} has the type {found}; an import needs {needed}")]
    ColumnType {
        column: String,
        found: String,
        needed: &'static str,
    },
    #[error("it was written to meanwhile; stop the service that uses it, then try again")]
    Changed,
    #[error("--database-url names the same one; name another to import into")]
    Same,
}

impl SourceProblem {
    /// What a database said that did not open or answer.
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

/// The target cannot take the users.
#[derive(Debug, Error)]
pub enum TargetError {
    /// It does not open, or is not the service's own.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// It stopped working on the way.
    #[error(
        "the database {url} failed on the way ({cause}); no user was imported: mend it, then try \
         again"
    )]
    Broken {
        /// Which database.
        url: DatabaseUrl,
        /// What it said.
        cause: String,
    },
    /// It gave no answer to the last step.
    #[error(
        "the database {url} failed at the last step ({cause}); whether the users are in it is \
         open: run the same again, it changes nothing that is there"
    )]
    InDoubt {
        /// Which database.
        url: DatabaseUrl,
        /// What it said.
        cause: String,
    },
}
