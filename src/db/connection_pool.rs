//! A pool of connections. Each unit of work runs on a blocking thread with a connection of its
//! own.

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
    idle_connections::{Generation, IdleConnections},
    url::DatabaseUrl,
};

/// The longest wait for a free connection before the database counts as unavailable.
const MAX_WAIT: Duration = Duration::from_secs(2);

/// The longest that a unit of work may take: less than a request may, so that the caller
/// gets the error.
const MAX_WORK: Duration = Duration::from_secs(4);

/// The time after which the connection of an unfinished unit of work is abandoned. libpq
/// waits for a reply without limit as long as TCP reports the server alive.
const ABANDON_AFTER: Duration = Duration::from_secs(5);

type Transactions = <AnyConnection as Connection>::TransactionManager;

/// Connections, and a permit for each, so that a unit of work waits for a connection as a
/// future and does not block a thread.
#[derive(Clone)]
pub(super) struct ConnectionPool {
    idle: Arc<IdleConnections>,
    permits: Arc<Semaphore>,
    /// Permits for abandoned connections: their threads hang in libpq until the server
    /// replies after all, or the kernel closes the connection.
    abandoned: Arc<Semaphore>,
}

/// Supervises a unit of work until its end.
struct Supervisor {
    idle: Arc<IdleConnections>,
    generation: Generation,
    permit: OwnedSemaphorePermit,
    abandoned: Arc<Semaphore>,
}

impl ConnectionPool {
    /// A pool of so many connections, opened on demand. On PostgreSQL there may be as many
    /// abandoned ones besides.
    pub(super) fn open(url: &DatabaseUrl, connections: u32) -> Self {
        let connections = connections as usize;
        let abandoned = match url {
            DatabaseUrl::Postgres(_) => connections,
            // A replacement would wait for the same disk.
            DatabaseUrl::Sqlite(_) => 0,
        };
        Self {
            idle: Arc::new(IdleConnections::new(url.clone(), connections)),
            permits: Arc::new(Semaphore::new(connections)),
            abandoned: Arc::new(Semaphore::new(abandoned)),
        }
    }

    /// Closes connections idle for too long.
    pub(super) fn close_idle(&self) {
        self.idle.close_stale();
    }

    /// Runs a unit of work on the next free connection.
    pub(super) async fn run<T, E>(
        &self,
        work: impl FnOnce(&mut AnyConnection) -> Result<T, E> + Send + 'static,
    ) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<DbError> + Send + 'static,
    {
        let permit = Arc::clone(&self.permits).acquire_owned();
        let Ok(Ok(permit)) = time::timeout(MAX_WAIT, permit).await else {
            return Err(DbError::Unavailable("every connection is busy".into()).into());
        };
        let supervisor = Supervisor {
            idle: Arc::clone(&self.idle),
            generation: self.idle.generation(),
            permit,
            abandoned: Arc::clone(&self.abandoned),
        };
        let idle = Arc::clone(&self.idle);
        let working = task::spawn_blocking(move || {
            let mut pooled = idle
                .take_or_open()
                .map_err(|error| DbError::Unavailable(error.into()))?;
            let result = work(&mut pooled.connection);
            idle.put_back(pooled);
            result
        });
        // In a task of its own, which continues when the caller is dropped.
        let supervised = task::spawn(supervisor.watch(working));
        match time::timeout(MAX_WORK, supervised).await {
            Ok(Ok(Ok(result))) => result,
            // The panic's message stays out: it may contain user data.
            Ok(_) => Err(DbError::Fault("a unit of work panicked".into()).into()),
            Err(_) => Err(DbError::Unavailable("it does not answer".into()).into()),
        }
    }
}

impl Supervisor {
    /// Waits for the end of a unit of work. When it is overdue, its permit is released early,
    /// for a new connection, while the old one is still waited for.
    async fn watch<T>(self, mut working: JoinHandle<T>) -> Result<T, JoinError> {
        let start = Instant::now();
        if let Ok(done) = time::timeout(ABANDON_AFTER, &mut working).await {
            return done;
        }
        let abandoned = tokio::select! {
            done = &mut working => return done,
            permit = self.abandoned.acquire() => permit,
        };
        // The other connections may lead to the same dead server.
        self.idle.retire(self.generation);
        drop(self.permit);
        tracing::warn!(
            "a connection to the database is abandoned and replaced: it has not answered for {} s",
            start.elapsed().as_secs()
        );
        let done = working.await;
        tracing::info!(
            "an abandoned connection to the database has ended after {} s",
            start.elapsed().as_secs()
        );
        drop(abandoned);
        done
    }
}

/// Runs work in a transaction, which is rolled back on an error.
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
            // A connection whose rollback fails is not reused.
            let _ = Transactions::rollback_transaction(connection);
            Err(error)
        }
    }
}

/// Begins a transaction that can write from the start: in SQLite, a transaction cannot begin to
/// write after a read while another one writes.
fn begin(connection: &mut AnyConnection) -> Result<(), DbError> {
    match connection {
        AnyConnection::Sqlite(sqlite) => {
            AnsiTransactionManager::begin_transaction_sql(sqlite, "BEGIN IMMEDIATE")
        }
        #[cfg(feature = "postgres")]
        AnyConnection::Postgres(postgres) => AnsiTransactionManager::begin_transaction(postgres),
    }
    .map_err(DbError::from)
}
