//! One process for one SQLite file: what it has in memory of it is not told of
//! what another one changes.

use std::{
    fs::{self, File, OpenOptions, TryLockError},
    os::unix::fs::OpenOptionsExt as _,
    sync::Arc,
};

use super::{error::OpenProblem, migrate};

/// What the name of the lock's file adds to that of the database's.
const SUFFIX: &str = ".lock";

/// Held as long as this process works with the file. The operating system gives
/// it up when the process ends, however it ends.
#[derive(Clone)]
pub(super) struct ProcessLock {
    _file: Arc<File>,
}

impl ProcessLock {
    /// Takes the lock (flock(2)) for a database file, which is created where it is missing.
    /// It is on a file of its own: where the volume makes flock out of the locks that
    /// SQLite takes, as NFS does, the two would be in each other's way.
    pub(super) fn take(path: &str) -> Result<Self, OpenProblem> {
        migrate::create_private(path).map_err(OpenProblem::Create)?;
        // Links to one file have one lock.
        let path = fs::canonicalize(path).map_err(OpenProblem::Create)?;
        if path.is_dir() {
            return Err(OpenProblem::Unreachable("it is a folder".to_owned()));
        }
        let mut lock = path.into_os_string();
        lock.push(SUFFIX);
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(lock)
            .map_err(OpenProblem::of_lock_file)?;
        match file.try_lock() {
            Ok(()) => Ok(Self {
                _file: Arc::new(file),
            }),
            Err(TryLockError::WouldBlock) => Err(OpenProblem::InUse),
            Err(TryLockError::Error(error)) => Err(OpenProblem::NoLocks(error)),
        }
    }
}
