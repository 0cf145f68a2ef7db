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
    connection::{AnsiTransactionManager, TransactionManager},
    r2d2::{NopErrorHandler, Pool, PooledConnection},
};
use tokio::{sync::Semaphore, task, time};

use self::connection::{AnyConnection, Manager};
pub use self::{
    error::{DbError, OpenError},
    url::{DatabaseUrl, DatabaseUrlError},
    users::{AddUserError, UserBy, UserChanges},
};

/// How long a request may wait for a connection, and a connection for the
/// database, before the database counts as away.
const PATIENCE: Duration = Duration::from_secs(2);

/// The database, shared by everyone. Cheap to clone.
#[derive(Clone)]
pub struct Db {
    readers: Lane,
    writers: Lane,
}

/// Some connections, and a permit for each, so that who waits for a connection
/// waits as a future and not as a blocked thread.
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
    /// When the database cannot be opened, is read-only or is newer than this
    /// version; nothing has been changed then.
    pub fn open(url: &DatabaseUrl, connections: u32) -> Result<Self, OpenError> {
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
        self.readers.run(move |connection| work(connection)).await
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
                        commit(connection)?;
                        Ok(done)
                    }
                    Err(error) => {
                        // A connection that cannot roll back is not reused.
                        let _ = roll_back(connection);
                        Err(error)
                    }
                }
            })
            .await
    }
}

impl Lane {
    fn open(url: &DatabaseUrl, connections: u32) -> Result<Self, OpenError> {
        let pool = Pool::builder()
            .max_size(connections)
            // A file does not hang up; a server may, and must be noticed
            // before a request meets it.
            .test_on_check_out(matches!(url, DatabaseUrl::Postgres(_)))
            .connection_timeout(PATIENCE)
            .error_handler(Box::new(NopErrorHandler))
            .build(Manager::new(url.clone()))
            .map_err(|error| OpenError::refused(url, &error))?;
        Ok(Self {
            pool,
            permits: Arc::new(Semaphore::new(connections as usize)),
        })
    }

    async fn run<T, E>(
        &self,
        work: impl FnOnce(&mut PooledConnection<Manager>) -> Result<T, E> + Send + 'static,
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

fn commit(connection: &mut AnyConnection) -> Result<(), DbError> {
    match connection {
        AnyConnection::Sqlite(sqlite) => AnsiTransactionManager::commit_transaction(sqlite),
        AnyConnection::Postgres(postgres) => AnsiTransactionManager::commit_transaction(postgres),
    }
    .map_err(DbError::from)
}

fn roll_back(connection: &mut AnyConnection) -> Result<(), DbError> {
    match connection {
        AnyConnection::Sqlite(sqlite) => AnsiTransactionManager::rollback_transaction(sqlite),
        AnyConnection::Postgres(postgres) => AnsiTransactionManager::rollback_transaction(postgres),
    }
    .map_err(DbError::from)
}
