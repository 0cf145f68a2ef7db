//! The idle connections of a pool, and the opening of new ones. The functions block the thread.

use std::{
    mem,
    sync::{Mutex, MutexGuard, PoisonError},
    thread,
    time::{Duration, Instant},
};

use diesel::ConnectionResult;

use super::{
    connection::{self, AnyConnection},
    health::{Health, HealthMonitor},
    url::DatabaseUrl,
};
use crate::backoff::Backoff;

/// A failed attempt to connect is repeated for this long.
const MAX_OPENING: Duration = Duration::from_secs(2);

/// The first wait between two attempts.
const FIRST_WAIT: Duration = Duration::from_millis(50);

/// The age at which a connection to a server is replaced: the server can release the memory
/// that it holds for it, and the next connection may lead to another server of the same name.
const MAX_AGE: Duration = Duration::from_secs(1_800);

/// The idle time after which a connection to a server is closed: a firewall in between may
/// have dropped its state.
const MAX_IDLE: Duration = Duration::from_secs(60);

/// Idle connections, and the means to open more. The connections in use are counted by the
/// permits of a [`ConnectionPool`](super::connection_pool::ConnectionPool).
pub(super) struct IdleConnections {
    url: DatabaseUrl,
    max_idle: usize,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// In the order of their last use.
    idle: Vec<PooledConnection>,
    /// Incremented when all open connections may be dead.
    generation: Generation,
}

/// Connections of one generation are used, or dropped, together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Generation(u64);

/// A connection in use, or idle. It is closed when it is dropped.
pub(super) struct PooledConnection {
    pub(super) connection: AnyConnection,
    monitor: HealthMonitor,
    generation: Generation,
    opened_at: Instant,
    used_at: Instant,
}

impl IdleConnections {
    /// No connections yet.
    pub(super) fn new(url: DatabaseUrl, max_idle: usize) -> Self {
        Self {
            url,
            max_idle,
            state: Mutex::default(),
        }
    }

    /// The most recently used idle connection whose server answers, or a new one.
    pub(super) fn take_or_open(&self) -> ConnectionResult<PooledConnection> {
        while let Some(mut pooled) = self.pop() {
            if !pooled.is_stale() {
                // The server may have closed it, which should not fail a request.
                match pooled.connection.ping() {
                    Ok(()) => return Ok(pooled),
                    Err(_) => self.retire(pooled.generation),
                }
            }
        }
        self.open()
    }

    /// Takes back a healthy connection. If the errors of its statements show that the server
    /// cannot work, the idle connections are dropped as well.
    pub(super) fn put_back(&self, mut pooled: PooledConnection) {
        match pooled.monitor.health() {
            Health::Lost => self.retire(pooled.generation),
            Health::Doubtful if !pooled.connection.is_open() => self.retire(pooled.generation),
            Health::Doubtful => {}
            Health::Sound if pooled.connection.is_in_transaction() => {}
            Health::Sound => {
                pooled.used_at = Instant::now();
                let mut state = self.lock();
                if state.generation == pooled.generation && state.idle.len() < self.max_idle {
                    state.idle.push(pooled);
                }
            }
        }
    }

    /// Closes connections that are too old or idle for too long.
    pub(super) fn close_stale(&self) {
        let mut state = self.lock();
        let (stale, fresh): (Vec<_>, Vec<_>) = mem::take(&mut state.idle)
            .into_iter()
            .partition(PooledConnection::is_stale);
        state.idle = fresh;
        // Closing writes to the socket, so the lock is released first.
        drop(state);
        drop(stale);
    }

    /// The generation of new connections.
    pub(super) fn generation(&self) -> Generation {
        self.lock().generation
    }

    /// Drops the idle connections of a generation. Its connections in use are not reused.
    pub(super) fn retire(&self, generation: Generation) {
        let mut state = self.lock();
        if state.generation == generation {
            state.generation.0 += 1;
            let idle = mem::take(&mut state.idle);
            // Closing writes to the socket, so the lock is released first.
            drop(state);
            drop(idle);
        }
    }

    fn open(&self) -> ConnectionResult<PooledConnection> {
        let start = Instant::now();
        let mut backoff = Backoff::new(FIRST_WAIT, MAX_OPENING);
        loop {
            let generation = self.generation();
            match connection::connect(&self.url) {
                Ok(mut connection) => {
                    let now = Instant::now();
                    return Ok(PooledConnection {
                        monitor: HealthMonitor::watch(&mut connection),
                        connection,
                        generation,
                        opened_at: now,
                        used_at: now,
                    });
                }
                Err(error) => {
                    let wait = backoff.next_wait();
                    if start.elapsed() + wait >= MAX_OPENING {
                        return Err(error);
                    }
                    thread::sleep(wait);
                }
            }
        }
    }

    fn pop(&self) -> Option<PooledConnection> {
        self.lock().idle.pop()
    }

    /// A panic elsewhere leaves the state consistent.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl PooledConnection {
    /// Whether it is too old or idle for too long. A connection to a file never is.
    fn is_stale(&self) -> bool {
        self.connection.is_to_server()
            && (self.opened_at.elapsed() > MAX_AGE || self.used_at.elapsed() > MAX_IDLE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pool(max_idle: usize) -> (tempfile::TempDir, IdleConnections) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("b.db").display().to_string();
        let pool = IdleConnections::new(DatabaseUrl::Sqlite(path), max_idle);
        (folder, pool)
    }

    fn idle(pool: &IdleConnections) -> usize {
        pool.lock().idle.len()
    }

    #[test]
    fn connections_are_reused_up_to_a_number() {
        let (_folder, pool) = pool(1);
        let (one, other) = (pool.take_or_open().unwrap(), pool.take_or_open().unwrap());
        pool.put_back(one);
        pool.put_back(other);
        assert_eq!(idle(&pool), 1);
        pool.take_or_open().unwrap();
        assert_eq!(idle(&pool), 0);
    }

    #[test]
    fn a_retired_generation_is_not_used_again() {
        let (_folder, pool) = pool(4);
        let (before, kept) = (pool.generation(), pool.take_or_open().unwrap());
        let other = pool.take_or_open().unwrap();
        pool.put_back(kept);
        pool.retire(before);
        assert_eq!(idle(&pool), 0);
        pool.put_back(other);
        assert_eq!(idle(&pool), 0, "it is of the retired generation");
        let new = pool.take_or_open().unwrap();
        pool.put_back(new);
        pool.retire(before);
        assert_eq!(idle(&pool), 1, "only the older generation is retired again");
    }

    #[test]
    fn a_connection_within_a_transaction_is_not_reused() {
        use diesel::connection::AnsiTransactionManager;

        let (_folder, pool) = pool(4);
        let mut pooled = pool.take_or_open().unwrap();
        let AnyConnection::Sqlite(sqlite) = &mut pooled.connection else {
            panic!("a file");
        };
        AnsiTransactionManager::begin_transaction_sql(sqlite, "BEGIN").unwrap();
        pool.put_back(pooled);
        assert_eq!(idle(&pool), 0);
    }
}
