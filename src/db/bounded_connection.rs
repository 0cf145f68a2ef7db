//! A connection with a thread of its own, whose work is waited for so long at most: libpq
//! waits for a reply without end where TCP says that the server is alive.

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

/// How many threads may wait for a server in vain before there is no further connection.
const MAX_HUNG: usize = 4;

type Job = Box<dyn FnOnce(&mut AnyConnection) + Send>;

/// Opens connections, one after the other, and counts the threads of those that hang.
pub(super) struct Connector {
    url: DatabaseUrl,
    /// Run on each connection to PostgreSQL.
    setup: &'static str,
    threads: Arc<()>,
}

/// An open connection. Its thread ends when this is dropped, or as soon as it hangs no
/// more.
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
        if Arc::strong_count(&self.threads) > MAX_HUNG {
            return Err(away("earlier connections still wait for it"));
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
    /// Works on its thread and waits for that. A connection whose work was not done in
    /// time is to be dropped.
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
            .map_err(|_| away("its thread has ended"))?;
        wait(&result)?
    }

    /// For what asks the server nothing. It waits for work that goes on.
    pub(super) fn lock(&self) -> MutexGuard<'_, AnyConnection> {
        lock(&self.connection)
    }
}

fn open(url: &DatabaseUrl, setup: &str) -> Result<AnyConnection, DbError> {
    let mut connection = connect(url).map_err(|error| DbError::Unavailable(error.into()))?;
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
        RecvTimeoutError::Timeout => away("it does not answer"),
        RecvTimeoutError::Disconnected => away("its thread has ended"),
    })
}

fn lock(connection: &Mutex<AnyConnection>) -> MutexGuard<'_, AnyConnection> {
    connection.lock().unwrap_or_else(PoisonError::into_inner)
}

fn away(why: &'static str) -> DbError {
    DbError::Unavailable(why.into())
}
