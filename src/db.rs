//! The database, SQLite or PostgreSQL, through one set of queries. The only module that uses
//! diesel.

mod advice;
mod batch_change;
mod bounded_connection;
mod connection;
mod connection_pool;
mod decoys;
mod error;
mod health;
mod idle_connections;
pub mod import;
mod log_reader;
mod migrate;
mod outgoing_mails;
#[cfg(feature = "postgres")]
mod pooler;
mod process_lock;
mod readable;
mod revocations;
mod schema;
mod server_keys;
mod sessions;
mod snapshot;
mod trusted_clock;
mod units;
mod url;
mod users;

use self::{
    connection::{AnyConnection, connect},
    connection_pool::{ConnectionPool, transaction},
    error::OpenProblem,
    outgoing_mails::UnknownKinds,
    process_lock::ProcessLock,
};
pub use self::{
    error::{DbError, OpenError},
    log_reader::{LogRead, LogReader},
    outgoing_mails::MailKind,
    revocations::LogPage,
    server_keys::ServerKey,
    sessions::{DigestCursor, EndedSession, Page},
    trusted_clock::ClockRecord,
    units::{
        ChangePasswordError, ChangeProof, ChangedPassword, Claim, Claimed, LoginTarget,
        OfferedReset, OutgoingMail, PasswordChange, Preference,
    },
    url::{DatabaseUrl, DatabaseUrlError},
    users::{AddUserError, UserBy, UserChange},
};

/// The database, shared by all tasks. Cheap to clone.
#[derive(Clone)]
pub struct Db {
    url: DatabaseUrl,
    readers: ConnectionPool,
    writers: ConnectionPool,
    decoy_key: ServerKey,
    unknown_kinds: UnknownKinds,
    /// Held on SQLite; `None` on PostgreSQL.
    _lock: Option<ProcessLock>,
}

impl Db {
    /// Opens the database and migrates its schema; creates a missing SQLite file with mode
    /// 0600. Blocks the thread.
    ///
    /// # Errors
    ///
    /// When the database cannot be opened, is read-only, is newer than this version or cannot
    /// be migrated.
    pub fn open(url: &DatabaseUrl, connections: u32) -> Result<Self, OpenError> {
        Self::try_open(url, connections).map_err(|problem| OpenError {
            url: url.clone(),
            problem,
        })
    }

    fn try_open(url: &DatabaseUrl, connections: u32) -> Result<Self, OpenProblem> {
        let lock = match url {
            DatabaseUrl::Sqlite(path) => Some(ProcessLock::take(path)?),
            DatabaseUrl::Postgres(_) => None,
        };
        migrate::prepare(url)?;
        let decoy_key = {
            let mut connection = connect(url).map_err(|error| OpenProblem::refused(&error))?;
            server_keys::load_or_create(&mut connection, server_keys::DECOYS)?
        };
        let readers = ConnectionPool::open(url, connections);
        let writers = match url {
            // SQLite has one writer at a time: writers queue here in order, rather than in
            // SQLite's busy loop.
            DatabaseUrl::Sqlite(_) => ConnectionPool::open(url, 1),
            DatabaseUrl::Postgres(_) => readers.clone(),
        };
        Ok(Self {
            url: url.clone(),
            readers,
            writers,
            decoy_key,
            unknown_kinds: UnknownKinds::default(),
            _lock: lock,
        })
    }

    /// The key that decides which decoy an unknown e-mail has. It is the same on all nodes of
    /// this database and after every restart.
    pub fn decoy_key(&self) -> ServerKey {
        self.decoy_key.clone()
    }

    /// A reader that follows the log of revocations.
    pub fn log_reader(&self) -> LogReader {
        LogReader::new(self.url.clone())
    }

    /// Closes connections idle for more than a minute.
    pub fn close_idle_connections(&self) {
        self.readers.close_idle();
        self.writers.close_idle();
    }

    /// Runs a unit of work that only reads.
    async fn read<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut AnyConnection) -> Result<T, DbError> + Send + 'static,
    ) -> Result<T, DbError> {
        self.readers.run(work).await
    }

    /// Runs a unit of work in a transaction: on `Ok`, all of it is on disk, on an error, none.
    /// Only after `Unavailable` it may be either.
    ///
    /// # The order of locks
    ///
    /// On PostgreSQL, where units of work write concurrently, each locks rows in this order,
    /// so that there are no deadlocks:
    ///
    /// 1. the users whose sessions it deletes, or whose credentials it changes, in
    ///    ascending order of their ids ([`lock_users`](users::lock_users));
    /// 2. sessions of those users;
    /// 3. outgoing mails;
    /// 4. by the triggers, at the commit: the advisory lock on the log of revocations.
    ///
    /// Units of work that change sessions or mails of many users skip locked rows instead of
    /// waiting for them (`SKIP LOCKED`).
    async fn write<T, E>(
        &self,
        work: impl FnOnce(&mut AnyConnection) -> Result<T, E> + Send + 'static,
    ) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<DbError> + Send + 'static,
    {
        self.writers
            .run(move |connection| transaction(connection, work))
            .await
    }
}
