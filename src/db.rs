//! Everything that is kept, in SQLite or PostgreSQL, through one set of
//! queries. The only room that names diesel.

mod connection;
mod error;
pub mod import;
mod lane;
mod mail_claims;
mod migrate;
mod outgoing_mails;
mod password_changes;
mod schema;
mod sessions;
mod url;
mod users;

use std::time::Duration;

use tokio::time;

use self::{
    connection::AnyConnection,
    error::OpenProblem,
    lane::{Lane, transaction},
};
pub use self::{
    error::{DbError, OpenError},
    mail_claims::{Claim, OutgoingMail, Preference},
    outgoing_mails::MailKind,
    password_changes::{ChangePasswordError, ChangeProof, PasswordChange},
    url::{DatabaseUrl, DatabaseUrlError},
    users::{AddUserError, UserBy, UserChanges},
};

/// The longest that what need not be written may hold its request up.
const AT_ONCE: Duration = Duration::from_millis(100);

/// The database, shared by everyone. Cheap to clone.
#[derive(Clone)]
pub struct Db {
    readers: Lane,
    writers: Lane,
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
        migrate::prepare(url)?;
        let readers = Lane::open(url, connections);
        let writers = match url {
            // SQLite has one writer at a time: queue for it here, in order,
            // not in its busy loop.
            DatabaseUrl::Sqlite(_) => Lane::open(url, 1),
            DatabaseUrl::Postgres(_) => readers.clone(),
        };
        Ok(Self { readers, writers })
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

    /// Writes if that can be done at once; `false` when it cannot. For what is
    /// good to note and no loss to miss.
    async fn write_if_idle(
        &self,
        work: impl FnOnce(&mut AnyConnection) -> Result<(), DbError> + Send + 'static,
    ) -> bool {
        let Some(permit) = self.writers.idle() else {
            return false;
        };
        let working = self
            .writers
            .work(permit, move |connection| transaction(connection, work));
        matches!(time::timeout(AT_ONCE, working).await, Ok(Ok(())))
    }
}
