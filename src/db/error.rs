//! The errors of a database.

use std::{
    error::Error,
    fmt,
    io::{self, ErrorKind},
};

use diesel::result::{DatabaseErrorKind, Error as DieselError};
use thiserror::Error;

use super::{advice, url::DatabaseUrl};
use crate::domain;

pub(super) type Cause = Box<dyn Error + Send + Sync>;

/// The most characters of a database's message that are shown.
const MAX_MESSAGE: usize = 300;

/// The reason why a unit of work failed. A missing row is not an error, and none of these says
/// anything about a user or a session.
#[derive(Debug, Error)]
pub enum DbError {
    /// The database cannot be reached, or cannot work at present.
    #[error("the database is unavailable")]
    Unavailable(#[source] Cause),
    /// A bug, or data that this service has not written.
    #[error("the database returned data that this version cannot use")]
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
            // A stopping server and a full disk have no kind of their own, so every error
            // counts as an unavailable database unless it is clearly a bug.
            DieselError::DatabaseError(..)
            | DieselError::BrokenTransactionManager
            | DieselError::RollbackErrorOnCommit { .. } => Self::Unavailable(error.into()),
            _ => Self::Fault(error.into()),
        }
    }
}

/// The reason why the service cannot start on a database, on one line. Nothing has been
/// changed, except that a missing SQLite file may have been created, and that the database may
/// have been migrated if only a key could not be read or made.
#[derive(Debug, Error)]
#[error("cannot use the database {url}: {problem}")]
pub struct OpenError {
    pub(super) url: DatabaseUrl,
    pub(super) problem: OpenProblem,
}

/// The problem with a database.
#[derive(Debug, Error)]
pub(super) enum OpenProblem {
    #[error("it does not exist and cannot be created ({0}); {advice}", advice = advice::on_file(.0))]
    Create(io::Error),
    #[error("it cannot be opened ({0}); {advice}", advice = advice::on_opening(.0))]
    Unreachable(String),
    #[error(
        "its volume does not support file locks ({0}); put it on a local disk, since SQLite can \
         lose data on a volume without locks"
    )]
    NoLocks(io::Error),
    #[error("its lock file, beside it, cannot be written ({0}); {advice}", advice = advice::on_file(.0))]
    LockFile(io::Error),
    #[error(
        "a pooler in front of it gives each transaction another connection; set \
         pool_mode=session for this database (PgBouncer), or name the server itself in \
         --database-url"
    )]
    TransactionPooling,
    /// Another process holds a lock, for now.
    #[error("it is locked ({0}); stop the other process that uses it, or wait for it")]
    Locked(String),
    #[error(
        "another bienvenue uses it; stop that one first, since only one process may use an \
         SQLite file (several share a PostgreSQL database)"
    )]
    InUse,
    #[error(
        "its key for {0} in the table server_keys is damaged; delete that row, and the next start \
         makes a new key"
    )]
    Key(String),
    #[error("the operating system provides no random bytes ({0})")]
    NoRandomness(String),
    #[error("it is read-only ({0}); {advice}", advice = advice::on_read_only(.0))]
    ReadOnly(String),
    #[error(
        "it is newer than this version of bienvenue (it has the migration {0}); run the version \
         that wrote it, or a later one"
    )]
    Newer(String),
    #[error("it cannot be migrated ({0}); nothing was changed{advice}", advice = advice::on_migrating(.0))]
    Migrate(String),
}

impl OpenProblem {
    /// The problem behind an error in opening the lock file.
    pub(super) fn of_lock_file(error: io::Error) -> Self {
        match error.kind() {
            ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem => {
                Self::ReadOnly(format!("its folder: {error}"))
            }
            _ => Self::LockFile(error),
        }
    }

    /// The problem behind an error in connecting or in a statement.
    pub(super) fn refused(error: &dyn Error) -> Self {
        Self::known(on_one_line(error)).unwrap_or_else(Self::Unreachable)
    }

    /// Recognises messages that any statement may cause; returns any other message.
    pub(super) fn known(cause: String) -> Result<Self, String> {
        if cause.contains("database is locked") || cause.contains("lock timeout") {
            Ok(Self::Locked(cause))
        } else if cause.contains("readonly database") || cause.contains("hot standby") {
            // Also for a file that would have to be written in order to be read.
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

/// A database's message, safe for a terminal, on one line of bounded length. libpq's messages
/// have several lines, and the database may belong to another party.
pub(super) fn on_one_line<T: fmt::Display + ?Sized>(message: &T) -> String {
    let mut line = domain::on_one_line(&message.to_string());
    if let Some((end, _)) = line.char_indices().nth(MAX_MESSAGE) {
        line.truncate(end);
        line.push('…');
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_becomes_one_short_line() {
        assert_eq!(on_one_line("one\n\ttwo\u{1B}[2J"), r"one two\u{1b}[2J");
        assert_eq!(on_one_line(&"\u{E9}".repeat(300)).chars().count(), 300);
        for long in ["\u{E9}".repeat(301), "\u{1B}".repeat(299)] {
            let line = on_one_line(&long);
            assert!(line.ends_with('…'), "{line}");
            assert_eq!(line.chars().count(), 301);
        }
    }
}
