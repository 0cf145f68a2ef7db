//! The connections of a lane: the idle ones, and how new ones are opened. It blocks.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    thread,
    time::{Duration, Instant},
};

use diesel::ConnectionResult;

use super::{
    connection::{self, AnyConnection},
    url::DatabaseUrl,
};

/// A connection attempt that fails is repeated until so much time has passed.
const MAX_OPENING: Duration = Duration::from_secs(2);

/// The first pause between two attempts; each one after it is twice as long.
const FIRST_PAUSE: Duration = Duration::from_millis(50);

/// A connection to a server is replaced at this age: the server gets back the memory that
/// it keeps for it, and the next connection may lead to another server of the same name.
const MAX_AGE: Duration = Duration::from_secs(1_800);

/// Idle connections, and the means to open more. It does not count those that are in
/// use: that is what the permits of a [`Lane`](super::lane::Lane) are for.
pub(super) struct Pool {
    url: DatabaseUrl,
    max_idle: usize,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
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
    generation: Generation,
    opened_at: Instant,
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
            if !pooled.is_too_old() {
                // The server may have hung up, which a request should not meet.
                match pooled.connection.ping() {
                    Ok(()) => return Ok(pooled),
                    Err(_) => self.distrust(pooled.generation),
                }
            }
        }
        self.open()
    }

    /// Takes a connection back. After a unit of work that failed, the connection may be
    /// lost; then the idle ones are dropped as well.
    pub(super) fn put_back(&self, mut pooled: PooledConnection, has_failed: bool) {
        if has_failed && !pooled.connection.is_open() {
            self.distrust(pooled.generation);
        } else if !pooled.connection.is_in_transaction() {
            let mut state = self.lock();
            if state.generation == pooled.generation && state.idle.len() < self.max_idle {
                state.idle.push(pooled);
            }
        }
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
            let idle = std::mem::take(&mut state.idle);
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
                Ok(connection) => {
                    return Ok(PooledConnection {
                        connection,
                        generation,
                        opened_at: Instant::now(),
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
    /// A file is the same however long it is open.
    fn is_too_old(&self) -> bool {
        matches!(self.connection, AnyConnection::Postgres(_)) && self.opened_at.elapsed() > MAX_AGE
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
        pool.put_back(one, false);
        // What failed was a statement: the connection is open.
        pool.put_back(other, true);
        assert_eq!(idle(&pool), 1);
        pool.take().unwrap();
        assert_eq!(idle(&pool), 0);
    }

    #[test]
    fn a_generation_that_is_distrusted_is_not_used_again() {
        let (_folder, pool) = pool(4);
        let (before, kept) = (pool.generation(), pool.take().unwrap());
        let other = pool.take().unwrap();
        pool.put_back(kept, false);
        pool.distrust(before);
        assert_eq!(idle(&pool), 0);
        pool.put_back(other, false);
        assert_eq!(idle(&pool), 0, "it is of the generation before");
        let new = pool.take().unwrap();
        pool.put_back(new, false);
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
        pool.put_back(pooled, true);
        assert_eq!(idle(&pool), 0);
    }
}
