//! What can go wrong with a database.

use std::{
    error::Error,
    fmt,
    io::{self, ErrorKind},
};

use diesel::result::{DatabaseErrorKind, Error as DieselError};
use thiserror::Error;

use super::{advice, url::DatabaseUrl};

pub(super) type Cause = Box<dyn Error + Send + Sync>;

/// The most characters of what a database said that are shown.
const MAX_SAID: usize = 300;

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
    #[error("it is not there and cannot be created ({0}); {advice}", advice = advice::on_file(.0))]
    Create(io::Error),
    #[error("it does not open ({0}); {advice}", advice = advice::on_opening(.0))]
    Unreachable(String),
    #[error(
        "its volume takes no lock on a file ({0}); put it on a local disk, since SQLite can lose \
         data on a volume without locks"
    )]
    NoLocks(io::Error),
    #[error("the file of its lock, beside it, cannot be written ({0}); {advice}", advice = advice::on_file(.0))]
    LockFile(io::Error),
    #[error(
        "a pooler in front of it gives each transaction another connection; set \
         pool_mode=session for this database (PgBouncer), or name the server itself in \
         --database-url"
    )]
    TransactionPooling,
    /// By another process, for now.
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
    #[error("the operating system gives no randomness ({0})")]
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
    /// Why the file of the lock cannot be opened.
    pub(super) fn of_lock_file(error: io::Error) -> Self {
        match error.kind() {
            ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem => {
                Self::ReadOnly(format!("its folder: {error}"))
            }
            _ => Self::LockFile(error),
        }
    }

    /// What a database said that did not open or answer.
    pub(super) fn refused(error: &dyn Error) -> Self {
        Self::known(on_one_line(error)).unwrap_or_else(Self::Unreachable)
    }

    /// What a database says in words of its own, whatever it was asked to do; the
    /// words themselves where they are others.
    pub(super) fn known(cause: String) -> Result<Self, String> {
        if cause.contains("database is locked") || cause.contains("lock timeout") {
            Ok(Self::Locked(cause))
        } else if cause.contains("readonly database") || cause.contains("hot standby") {
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

/// What a database said, fit for a terminal: on one line of bounded length, with
/// what could steer the terminal escaped. libpq explains itself over several lines,
/// and the database may be a stranger's.
pub(super) fn on_one_line<T: fmt::Display + ?Sized>(said: &T) -> String {
    let said = said.to_string();
    let words = said.split_whitespace().collect::<Vec<_>>().join(" ");
    let mut line = String::new();
    for c in words.chars() {
        if steers(c) {
            line.extend(c.escape_unicode());
        } else {
            line.push(c);
        }
    }
    if let Some((end, _)) = line.char_indices().nth(MAX_SAID) {
        line.truncate(end);
        line.push('…');
    }
    line
}

/// Whether it is a control, or turns the direction of writing (`Bidi_Control`).
/// What separates lines is white space, and folded before.
fn steers(c: char) -> bool {
    let turns = matches!(
        c,
        '\u{61C}' | '\u{200E}' | '\u{200F}' | '\u{202A}'..='\u{202E}' | '\u{2066}'..='\u{2069}'
    );
    c.is_control() || turns
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_database_says_is_one_tame_line() {
        for (said, line) in [
            ("no such \"table\"", "no such \"table\""),
            ("one\n\ttwo\u{2028}three\u{85}four", "one two three four"),
            ("\u{1B}[2J\u{7}\u{9B}31m", r"\u{1b}[2J\u{7}\u{9b}31m"),
            ("\u{202E}txt\u{2066}\u{61C}", r"\u{202e}txt\u{2066}\u{61c}"),
            ("m\u{FC}\u{DF}ig e\u{301}", "m\u{FC}\u{DF}ig e\u{301}"),
        ] {
            assert_eq!(on_one_line(said), line);
        }
        assert_eq!(on_one_line(&"\u{E9}".repeat(300)).chars().count(), 300);
        for long in ["\u{E9}".repeat(301), "\u{1B}".repeat(299)] {
            let line = on_one_line(&long);
            assert!(line.ends_with('…'), "{line}");
            assert_eq!(line.chars().count(), 301);
        }
    }
}
