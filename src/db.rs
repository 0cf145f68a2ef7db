//! Everything that is kept, in SQLite or PostgreSQL, through one set of
//! queries. The only room that names diesel.

mod advice;
mod bounded_connection;
mod connection;
mod connection_pool;
mod decoys;
mod error;
mod health;
mod idle_connections;
pub mod import;
mod log_reader;
mod mail_claims;
mod migrate;
mod outgoing_mails;
mod password_changes;
mod pooler;
mod process_lock;
mod readable;
mod reset_tokens;
mod revocations;
mod schema;
mod server_keys;
mod session_sweep;
mod sessions;
mod snapshot;
mod trusted_clock;
mod url;
mod users;

use self::{
    connection::{AnyConnection, connect},
    connection_pool::{Lane, transaction},
    error::OpenProblem,
    process_lock::ProcessLock,
};
pub use self::{
    decoys::LoginTarget,
    error::{DbError, OpenError},
    log_reader::{LogRead, LogReader},
    mail_claims::{Claim, Claimed, OfferedReset, OutgoingMail, Preference},
    outgoing_mails::MailKind,
    password_changes::{ChangePasswordError, ChangeProof, ChangedPassword, PasswordChange},
    revocations::LogPage,
    server_keys::ServerKey,
    sessions::{Ended, Page, Place},
    trusted_clock::ClockRecord,
    url::{DatabaseUrl, DatabaseUrlError},
    users::{AddUserError, UserBy, UserChanges},
};

/// The database, shared by everyone. Cheap to clone.
#[derive(Clone)]
pub struct Db {
    url: DatabaseUrl,
    readers: Lane,
    writers: Lane,
    decoy_key: ServerKey,
    /// On SQLite.
    _lock: Option<ProcessLock>,
}

impl Db {
    /// Opens the database, creates an SQLite file that is missing (mode 0600),
    /// and brings the schema up to date. It blocks.
    ///
    /// # Errors
    ///
    /// When the database cannot be opened, is read-only, is newer than this
    /// version or cannot be migrated.
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
        let readers = Lane::open(url, connections);
        let writers = match url {
            // SQLite has one writer at a time: queue for it here, in order,
            // not in its busy loop.
            DatabaseUrl::Sqlite(_) => Lane::open(url, 1),
            DatabaseUrl::Postgres(_) => readers.clone(),
        };
        Ok(Self {
            url: url.clone(),
            readers,
            writers,
            decoy_key,
            _lock: lock,
        })
    }

    /// The key that decides which decoy an unknown e-mail has: the same on all nodes of
    /// this database, and after each start.
    pub fn decoy_key(&self) -> ServerKey {
        self.decoy_key.clone()
    }

    /// To follow the log of revocations with.
    pub fn log_reader(&self) -> LogReader {
        LogReader::new(self.url.clone())
    }

    /// Closes connections that have been idle for too long.
    pub fn close_idle_connections(&self) {
        self.readers.close_idle();
        self.writers.close_idle();
    }

    /// Runs one unit of work that reads.
    async fn read<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut AnyConnection) -> Result<T, DbError> + Send + 'static,
    ) -> Result<T, DbError> {
        self.readers.run(work).await
    }

    /// Runs one unit of work that writes: all of it is on disk when this
    /// returns `Ok`, none of it otherwise. Only an `Unavailable` leaves open
    /// which.
    ///
    /// # The order of locks
    ///
    /// On PostgreSQL, where units of work write side by side, each of them locks rows in
    /// this order, so that no two wait for each other:
    ///
    /// 1. the users whose sessions it deletes, or whose credentials it changes, in
    ///    ascending order of their ids ([`lock_users`](users::lock_users));
    /// 2. sessions of those users;
    /// 3. outgoing mails;
    /// 4. by the triggers, at the commit: the advisory lock on the log of revocations.
    ///
    /// What touches or sweeps sessions, or claims mails, of any user skips rows that are
    /// locked and waits for none (`SKIP LOCKED`).
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
