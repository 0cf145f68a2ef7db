//! Units of work, each on a blocking thread with a connection of its own.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use diesel::{
    Connection,
    connection::{AnsiTransactionManager, TransactionManager},
};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    task::{self, JoinError, JoinHandle},
    time,
};

use super::{
    connection::AnyConnection,
    error::DbError,
    idle_connections::{Generation, Pool},
    url::DatabaseUrl,
};

/// The longest wait for a free connection, before the database counts as away.
const PATIENCE: Duration = Duration::from_secs(2);

/// The longest that a unit of work may take: less than a request may, so that
/// its caller hears that the database is away.
const MAX_WORK: Duration = Duration::from_secs(4);

/// When the connection of a unit of work that is still not done is given up. libpq waits
/// for a reply without end where TCP says that the server is alive.
const GIVE_UP_AFTER: Duration = Duration::from_secs(5);

type Transactions = <AnyConnection as Connection>::TransactionManager;

/// Some connections, and a permit for each, so that whoever waits for a
/// connection waits as a future and not as a blocked thread.
#[derive(Clone)]
pub(super) struct Lane {
    pool: Arc<Pool>,
    permits: Arc<Semaphore>,
    /// Permits for connections that are given up: their threads hang in libpq until the
    /// server answers after all, or the kernel closes the connection.
    given_up: Arc<Semaphore>,
}

/// What the end of a unit of work is watched for with.
struct Supervisor {
    pool: Arc<Pool>,
    generation: Generation,
    permit: OwnedSemaphorePermit,
    given_up: Arc<Semaphore>,
}

impl Lane {
    /// A lane of so many connections, opened when they are needed. On PostgreSQL there may
    /// be as many again that were given up.
    pub(super) fn open(url: &DatabaseUrl, connections: u32) -> Self {
        let connections = connections as usize;
        let given_up = match url {
            DatabaseUrl::Postgres(_) => connections,
            // Another connection would wait for the same disk.
            DatabaseUrl::Sqlite(_) => 0,
        };
        Self {
            pool: Arc::new(Pool::new(url.clone(), connections)),
            permits: Arc::new(Semaphore::new(connections)),
            given_up: Arc::new(Semaphore::new(given_up)),
        }
    }

    /// Closes connections that have been idle for too long.
    pub(super) fn close_idle(&self) {
        self.pool.close_idle();
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
        let supervisor = Supervisor {
            pool: Arc::clone(&self.pool),
            generation: self.pool.generation(),
            permit,
            given_up: Arc::clone(&self.given_up),
        };
        let pool = Arc::clone(&self.pool);
        let working = task::spawn_blocking(move || {
            let mut pooled = pool
                .take()
                .map_err(|error| DbError::Unavailable(error.into()))?;
            let result = work(&mut pooled.connection);
            pool.put_back(pooled);
            result
        });
        // A task of its own, which goes on when the caller hangs up.
        let supervised = task::spawn(supervisor.watch(working));
        match time::timeout(MAX_WORK, supervised).await {
            Ok(Ok(Ok(result))) => result,
            // The panic's own words may quote what it choked on.
            Ok(_) => Err(DbError::Fault("a unit of work panicked".into()).into()),
            Err(_) => Err(DbError::Unavailable("it does not answer".into()).into()),
        }
    }
}

impl Supervisor {
    /// Waits for the end of a unit of work. Where that is overdue, the permit is given back
    /// before: for a new connection, while the old one may still be waited for.
    async fn watch<T>(self, mut working: JoinHandle<T>) -> Result<T, JoinError> {
        let start = Instant::now();
        if let Ok(done) = time::timeout(GIVE_UP_AFTER, &mut working).await {
            return done;
        }
        let room = tokio::select! {
            done = &mut working => return done,
            room = self.given_up.acquire() => room,
        };
        // The others may wait for the same server in vain.
        self.pool.distrust(self.generation);
        drop(self.permit);
        tracing::warn!(
            "a connection to the database is given up and replaced: it has not answered for {} s",
            start.elapsed().as_secs()
        );
        let done = working.await;
        tracing::info!(
            "a connection to the database that was given up has ended after {} s",
            start.elapsed().as_secs()
        );
        drop(room);
        done
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
