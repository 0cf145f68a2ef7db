//! A connection on a thread of its own, with a limit on the wait for each piece of work: libpq
//! waits for a reply without limit as long as TCP reports the server alive.

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        mpsc::{self, Receiver, RecvTimeoutError, Sender},
    },
    thread,
    time::Duration,
};

use diesel::connection::SimpleConnection as _;

use super::{
    DbError,
    connection::{AnyConnection, connect},
    url::DatabaseUrl,
};

/// The longest wait for one piece of work: longer than the server's own limit on a
/// statement.
const MAX_WORK: Duration = Duration::from_secs(5);

/// The number of threads, in use or hanging, at which no further connection is opened.
const MAX_THREADS: usize = 4;

type Job = Box<dyn FnOnce(&mut AnyConnection) + Send>;

/// Opens connections, one after the other, and counts their threads, some of which may hang.
pub(super) struct Connector {
    url: DatabaseUrl,
    /// Run on each connection to PostgreSQL.
    setup: &'static str,
    threads: Arc<()>,
}

/// An open connection. Its thread ends when this is dropped; a hanging thread ends when libpq
/// returns.
pub(super) struct BoundedConnection {
    connection: Arc<Mutex<AnyConnection>>,
    jobs: Sender<Job>,
}

impl Connector {
    pub(super) fn new(url: DatabaseUrl, setup: &'static str) -> Self {
        Self {
            url,
            setup,
            threads: Arc::default(),
        }
    }

    pub(super) fn is_to_server(&self) -> bool {
        matches!(self.url, DatabaseUrl::Postgres(_))
    }

    /// Opens a connection.
    pub(super) fn connect(&self) -> Result<BoundedConnection, DbError> {
        // Besides the threads, the connector itself holds a reference.
        if Arc::strong_count(&self.threads) > MAX_THREADS {
            return Err(unavailable("earlier connections still wait for it"));
        }
        let (url, setup, running) = (self.url.clone(), self.setup, Arc::clone(&self.threads));
        let (opened, opening) = mpsc::sync_channel(1);
        let (jobs, queue) = mpsc::channel();
        let thread = thread::Builder::new().name("log connection".to_owned());
        let spawned = thread.spawn(move || {
            match open(&url, setup) {
                Ok(connection) => {
                    let connection = Arc::new(Mutex::new(connection));
                    if opened.send(Ok(Arc::clone(&connection))).is_ok() {
                        work(&connection, &queue);
                    }
                }
                Err(error) => drop(opened.send(Err(error))),
            }
            drop(running);
        });
        spawned.map_err(|error| DbError::Unavailable(error.into()))?;
        let connection = wait(&opening)??;
        Ok(BoundedConnection { connection, jobs })
    }
}

impl BoundedConnection {
    /// Runs work on the connection's thread and waits for it. A connection whose work timed
    /// out must be dropped.
    pub(super) fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut AnyConnection) -> Result<T, DbError> + Send + 'static,
    ) -> Result<T, DbError> {
        let (done, result) = mpsc::sync_channel(1);
        let job: Job = Box::new(move |connection| {
            let _ = done.send(work(connection));
        });
        self.jobs
            .send(job)
            .map_err(|_| unavailable("its thread has ended"))?;
        wait(&result)?
    }

    /// Locks the connection, for calls that do not wait for the server. Waits for work in
    /// progress.
    pub(super) fn lock(&self) -> MutexGuard<'_, AnyConnection> {
        lock(&self.connection)
    }
}

fn open(url: &DatabaseUrl, setup: &str) -> Result<AnyConnection, DbError> {
    let mut connection = connect(url).map_err(|error| DbError::Unavailable(error.into()))?;
    #[cfg(feature = "postgres")]
    if let AnyConnection::Postgres(postgres) = &mut connection {
        postgres.batch_execute(setup)?;
    }
    Ok(connection)
}

fn work(connection: &Mutex<AnyConnection>, queue: &Receiver<Job>) {
    while let Ok(job) = queue.recv() {
        job(&mut lock(connection));
    }
}

fn wait<T>(result: &Receiver<T>) -> Result<T, DbError> {
    result.recv_timeout(MAX_WORK).map_err(|error| match error {
        RecvTimeoutError::Timeout => unavailable("it does not answer"),
        RecvTimeoutError::Disconnected => unavailable("its thread has ended"),
    })
}

fn lock(connection: &Mutex<AnyConnection>) -> MutexGuard<'_, AnyConnection> {
    connection.lock().unwrap_or_else(PoisonError::into_inner)
}

fn unavailable(why: &'static str) -> DbError {
    DbError::Unavailable(why.into())
}
