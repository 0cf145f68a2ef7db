//! Units of work, each on a blocking thread with a connection of its own.

use std::{sync::Arc, time::Duration};

use diesel::{
    Connection,
    connection::{AnsiTransactionManager, TransactionManager},
    r2d2::{NopErrorHandler, Pool},
};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    task, time,
};

use super::{
    connection::{AnyConnection, Manager},
    error::DbError,
    url::DatabaseUrl,
};

/// The longest wait for a free connection, and then for opening one, before
/// the database counts as away.
const PATIENCE: Duration = Duration::from_secs(2);

/// The longest that a unit of work may take: less than a request may, so that
/// its caller hears that the database is away.
const MAX_WORK: Duration = Duration::from_secs(4);

type Transactions = <AnyConnection as Connection>::TransactionManager;

/// Some connections, and a permit for each, so that whoever waits for a
/// connection waits as a future and not as a blocked thread.
#[derive(Clone)]
pub(super) struct Lane {
    pool: Pool<Manager>,
    permits: Arc<Semaphore>,
}

impl Lane {
    /// A lane of some connections, which open in the background.
    pub(super) fn open(url: &DatabaseUrl, connections: u32) -> Self {
        let pool = Pool::builder()
            .max_size(connections)
            // A file does not hang up; a server may, and must be noticed
            // before a request meets it.
            .test_on_check_out(matches!(url, DatabaseUrl::Postgres(_)))
            .connection_timeout(PATIENCE)
            .error_handler(Box::new(NopErrorHandler))
            // It fills while the service starts; that the database opens is
            // known by now.
            .build_unchecked(Manager::new(url.clone()));
        Self {
            pool,
            permits: Arc::new(Semaphore::new(connections as usize)),
        }
    }

    /// Works with the next connection that is free.
    pub(super) async fn run<T, E>(
        &self,
        work: impl FnOnce(&mut AnyConnection) -> Result<T, E> + Send + 'static,
    ) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<DbError> + Send + 'static,
    {
        let permit = Arc::clone(&self.permits).acquire_owned();
        let Ok(Ok(permit)) = time::timeout(PATIENCE, permit).await else {
            return Err(DbError::Unavailable("every connection is busy".into()).into());
        };
        self.work(permit, work).await
    }

    /// Works with a connection whose permit is held. Work that does not come
    /// back keeps its thread and its permit until it does.
    async fn work<T, E>(
        &self,
        permit: OwnedSemaphorePermit,
        work: impl FnOnce(&mut AnyConnection) -> Result<T, E> + Send + 'static,
    ) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<DbError> + Send + 'static,
    {
        let pool = self.pool.clone();
        let working = task::spawn_blocking(move || {
            let _permit = permit;
            let mut connection = pool
                .get()
                .map_err(|error| DbError::Unavailable(error.into()))?;
            work(&mut connection)
        });
        match time::timeout(MAX_WORK, working).await {
            Ok(Ok(result)) => result,
            // The panic's own words may quote what it choked on.
            Ok(Err(_)) => Err(DbError::Fault("a unit of work panicked".into()).into()),
            Err(_) => Err(DbError::Unavailable("it does not answer".into()).into()),
        }
    }
}

/// All of the work or none.
pub(super) fn transaction<T, E: From<DbError>>(
    connection: &mut AnyConnection,
    work: impl FnOnce(&mut AnyConnection) -> Result<T, E>,
) -> Result<T, E> {
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
