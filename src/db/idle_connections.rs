//! The connections of a lane: the idle ones, and how new ones are opened. It blocks.

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

/// A connection attempt that fails is repeated until so much time has passed.
const MAX_OPENING: Duration = Duration::from_secs(2);

/// The first pause between two attempts; each one after it is twice as long.
const FIRST_PAUSE: Duration = Duration::from_millis(50);

/// A connection to a server is replaced at this age: the server gets back the memory that
/// it keeps for it, and the next connection may lead to another server of the same name.
const MAX_AGE: Duration = Duration::from_secs(1_800);

/// A connection to a server that has been idle for so long is closed: what lies between,
/// such as a firewall, may have forgotten it.
const MAX_IDLE: Duration = Duration::from_secs(60);

/// Idle connections, and the means to open more. It does not count those that are in
/// use: that is what the permits of a [`Lane`](super::connection_pool::Lane) are for.
pub(super) struct Pool {
    url: DatabaseUrl,
    max_idle: usize,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// The one that was used last at the end.
    idle: Vec<PooledConnection>,
    /// Moves on when the connections that are open may all be dead.
    generation: Generation,
}

/// Connections of one generation are trusted, or dropped, together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Generation(u64);

/// A connection that is in use, or idle. It is closed when it is dropped.
pub(super) struct PooledConnection {
    pub(super) connection: AnyConnection,
    monitor: HealthMonitor,
    generation: Generation,
    opened_at: Instant,
    used_at: Instant,
}

impl Pool {
    /// A pool without connections.
    pub(super) fn new(url: DatabaseUrl, max_idle: usize) -> Self {
        Self {
            url,
            max_idle,
            state: Mutex::default(),
        }
    }

    /// The connection that was used last among the idle ones, if it still answers, or a
    /// new one.
    pub(super) fn take(&self) -> ConnectionResult<PooledConnection> {
        while let Some(mut pooled) = self.pop() {
            if !pooled.is_stale() {
                // The server may have hung up, which a request should not meet.
                match pooled.connection.ping() {
                    Ok(()) => return Ok(pooled),
                    Err(_) => self.distrust(pooled.generation),
                }
            }
        }
        self.open()
    }

    /// Takes a connection back, if it can go on working. Where its statements have told that
    /// the server cannot, the idle ones are dropped as well.
    pub(super) fn put_back(&self, mut pooled: PooledConnection) {
        match pooled.monitor.health() {
            Health::Lost => self.distrust(pooled.generation),
            Health::Doubtful if !pooled.connection.is_open() => self.distrust(pooled.generation),
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

    /// Closes connections that have been idle for too long.
    pub(super) fn close_idle(&self) {
        let mut state = self.lock();
        let (stale, fresh): (Vec<_>, Vec<_>) = mem::take(&mut state.idle)
            .into_iter()
            .partition(PooledConnection::is_stale);
        state.idle = fresh;
        // A connection says goodbye to the server before it closes.
        drop(state);
        drop(stale);
    }

    /// The generation of the connections that are trusted now.
    pub(super) fn generation(&self) -> Generation {
        self.lock().generation
    }

    /// Drops the idle connections of a generation. Those of it that are in use are not
    /// used again.
    pub(super) fn distrust(&self, generation: Generation) {
        let mut state = self.lock();
        if state.generation == generation {
            state.generation.0 += 1;
            let idle = mem::take(&mut state.idle);
            // A connection says goodbye to the server before it closes.
            drop(state);
            drop(idle);
        }
    }

    fn open(&self) -> ConnectionResult<PooledConnection> {
        let start = Instant::now();
        let mut pause = FIRST_PAUSE;
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
                Err(error) if start.elapsed() + pause >= MAX_OPENING => return Err(error),
                Err(_) => {
                    thread::sleep(pause);
                    pause *= 2;
                }
            }
        }
    }

    fn pop(&self) -> Option<PooledConnection> {
        self.lock().idle.pop()
    }

    /// A panic elsewhere leaves the state whole.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl PooledConnection {
    /// Whether it is too old or was idle for too long. A file stays the same.
    fn is_stale(&self) -> bool {
        matches!(self.connection, AnyConnection::Postgres(_))
            && (self.opened_at.elapsed() > MAX_AGE || self.used_at.elapsed() > MAX_IDLE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pool(max_idle: usize) -> (tempfile::TempDir, Pool) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("b.db").display().to_string();
        (folder, Pool::new(DatabaseUrl::Sqlite(path), max_idle))
    }

    fn idle(pool: &Pool) -> usize {
        pool.lock().idle.len()
    }

    #[test]
    fn connections_are_reused_up_to_a_number() {
        let (_folder, pool) = pool(1);
        let (one, other) = (pool.take().unwrap(), pool.take().unwrap());
        pool.put_back(one);
        pool.put_back(other);
        assert_eq!(idle(&pool), 1);
        pool.take().unwrap();
        assert_eq!(idle(&pool), 0);
    }

    #[test]
    fn a_generation_that_is_distrusted_is_not_used_again() {
        let (_folder, pool) = pool(4);
        let (before, kept) = (pool.generation(), pool.take().unwrap());
        let other = pool.take().unwrap();
        pool.put_back(kept);
        pool.distrust(before);
        assert_eq!(idle(&pool), 0);
        pool.put_back(other);
        assert_eq!(idle(&pool), 0, "it is of the generation before");
        let new = pool.take().unwrap();
        pool.put_back(new);
        pool.distrust(before);
        assert_eq!(idle(&pool), 1, "another problem of the generation before");
    }

    #[test]
    fn a_connection_within_a_transaction_is_not_reused() {
        use diesel::connection::AnsiTransactionManager;

        let (_folder, pool) = pool(4);
        let mut pooled = pool.take().unwrap();
        let AnyConnection::Sqlite(sqlite) = &mut pooled.connection else {
            panic!("a file");
        };
        AnsiTransactionManager::begin_transaction_sql(sqlite, "BEGIN").unwrap();
        pool.put_back(pooled);
        assert_eq!(idle(&pool), 0);
    }
}
