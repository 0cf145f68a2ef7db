//! The lock that lets only one process use an SQLite file: a second one would not learn which
//! sessions the first one ends.

use std::{
    fs::{self, File, OpenOptions, TryLockError},
    io,
    os::unix::fs::OpenOptionsExt as _,
    sync::Arc,
};

use super::{error::OpenProblem, migrate};

/// The suffix of the lock file's name after that of the database file.
const SUFFIX: &str = ".lock";

/// A lock held as long as this process uses the file. The operating system releases it when
/// the process ends, however it ends.
#[derive(Clone)]
pub(super) struct ProcessLock {
    _file: Arc<File>,
}

impl ProcessLock {
    /// Locks a database file with flock(2), which does not interact with SQLite's own locks;
    /// creates a missing file. Where the volume does not allow that, a separate file is
    /// locked: NFS implements flock with the kind of locks that SQLite takes, so that the two
    /// would conflict.
    pub(super) fn take(path: &str) -> Result<Self, OpenProblem> {
        migrate::create_private(path).map_err(OpenProblem::Create)?;
        let refused = |error: io::Error| OpenProblem::Unreachable(error.to_string());
        let file = File::open(path).map_err(refused)?;
        match Self::lock(file) {
            Err(TryLockError::Error(_)) => Self::lock(lock_file(path)?),
            locked => locked,
        }
        .map_err(|error| match error {
            TryLockError::WouldBlock => OpenProblem::InUse,
            TryLockError::Error(error) => OpenProblem::NoLocks(error),
        })
    }

    fn lock(file: File) -> Result<Self, TryLockError> {
        file.try_lock()?;
        Ok(Self {
            _file: Arc::new(file),
        })
    }
}

/// The lock file beside the database file, whatever link names the latter.
fn lock_file(path: &str) -> Result<File, OpenProblem> {
    let mut path = fs::canonicalize(path)
        .map_err(OpenProblem::LockFile)?
        .into_os_string();
    path.push(SUFFIX);
    OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(path)
        .map_err(OpenProblem::of_lock_file)
}
