//! Everything that is kept, in SQLite or PostgreSQL, through one set of
//! queries. The only room that names diesel.

mod connection;
mod error;
mod migrate;
mod schema;
mod sessions;
mod url;
mod users;

use std::{sync::Arc, time::Duration};

use diesel::{
    Connection,
    connection::{AnsiTransactionManager, TransactionManager},
    r2d2::{NopErrorHandler, Pool},
};
use tokio::{sync::Semaphore, task, time};

use self::{
    connection::{AnyConnection, Manager},
    error::OpenProblem,
};
pub use self::{
    error::{DbError, OpenError},
    url::{DatabaseUrl, DatabaseUrlError},
    users::{AddUserError, UserBy, UserChanges},
};

/// The longest wait for a free connection, and then for opening one, before
/// the database counts as away.
const PATIENCE: Duration = Duration::from_secs(2);

type Transactions = <AnyConnection as Connection>::TransactionManager;

/// The database, shared by everyone. Cheap to clone.
#[derive(Clone)]
pub struct Db {
    readers: Lane,
    writers: Lane,
}

/// Some connections, and a permit for each, so that whoever waits for a
/// connection waits as a future and not as a blocked thread.
#[derive(Clone)]
struct Lane {
    pool: Pool<Manager>,
    permits: Arc<Semaphore>,
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
        let readers = Lane::open(url, connections)?;
        let writers = match url {
            // SQLite has one writer at a time: queue for it here, in order,
            // not in its busy loop.
            DatabaseUrl::Sqlite(_) => Lane::open(url, 1)?,
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
    /// returns `Ok`, none of it otherwise.
    async fn write<T, E>(
        &self,
        work: impl FnOnce(&mut AnyConnection) -> Result<T, E> + Send + 'static,
    ) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<DbError> + Send + 'static,
    {
        self.writers
            .run(move |connection| {
                begin(connection)?;
                match work(connection) {
                    Ok(done) => {
                        Transactions::commit_transaction(connection).map_err(DbError::from)?;
                        Ok(done)
                    }
                    Err(error) => {
                        // A connection that cannot roll back is not reused.
                        let _ = Transactions::rollback_transaction(connection);
                        Err(error)
                    }
                }
            })
            .await
    }
}

impl Lane {
    fn open(url: &DatabaseUrl, connections: u32) -> Result<Self, OpenProblem> {
        let pool = Pool::builder()
            .max_size(connections)
            // A file does not hang up; a server may, and must be noticed
            // before a request meets it.
            .test_on_check_out(matches!(url, DatabaseUrl::Postgres(_)))
            .connection_timeout(PATIENCE)
            .error_handler(Box::new(NopErrorHandler))
            .build(Manager::new(url.clone()))
            .map_err(|error| OpenProblem::refused(&error))?;
        Ok(Self {
            pool,
            permits: Arc::new(Semaphore::new(connections as usize)),
        })
    }

    async fn run<T, E>(
        &self,
        work: impl FnOnce(&mut AnyConnection) -> Result<T, E> + Send + 'static,
    ) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<DbError> + Send + 'static,
    {
        let permit = Arc::clone(&self.permits).acquire_owned();
        let permit = time::timeout(PATIENCE, permit)
            .await
            .map_err(|_| DbError::Unavailable("every connection is busy".into()))?;
        let pool = self.pool.clone();
        task::spawn_blocking(move || {
            let _permit = permit;
            let mut connection = pool
                .get()
                .map_err(|error| DbError::Unavailable(error.into()))?;
            work(&mut connection)
        })
        .await
        .map_err(|panic| DbError::Fault(panic.into()))?
    }
}

/// Opens a transaction that can write from the start: SQLite refuses to turn
/// one that has read into a writing one while another writes.
fn begin(connection: &mut AnyConnection) -> Result<(), DbError> {
    match connection {
        AnyConnection::Sqlite(sqlite) => {
            AnsiTransactionManager::begin_transaction_sql(sqlite, "BEGIN IMMEDIATE")
        }
        AnyConnection::Postgres(postgres) => AnsiTransactionManager::begin_transaction(postgres),
    }
    .map_err(DbError::from)
}
