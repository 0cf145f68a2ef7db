//! One process for one SQLite file: what it has in memory of it is not told of
//! what another one changes.

use std::{
    fs::{self, File, OpenOptions, TryLockError},
    io,
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
    /// Takes the lock (flock(2), which SQLite's own locks know nothing of) on a database
    /// file, which is created where it is missing. Where its volume takes none there, the
    /// lock is on a file of its own: NFS makes flock out of the locks that SQLite takes, so
    /// that the two would be in each other's way.
    pub(super) fn take(path: &str) -> Result<Self, OpenProblem> {
        migrate::create_private(path).map_err(OpenProblem::Create)?;
        let refused = |error: io::Error| OpenProblem::Unreachable(error.to_string());
        let file = File::open(path).map_err(refused)?;
        match Self::lock(file) {
            Err(TryLockError::Error(_)) => Self::lock(own_file(path)?),
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

/// The file beside the database file, by whichever link that is named.
fn own_file(path: &str) -> Result<File, OpenProblem> {
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
