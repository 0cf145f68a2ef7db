//! One process for one SQLite file: what it has in memory of it is not told of
//! what another one changes.

use std::{
    fs::{File, TryLockError},
    io,
    sync::Arc,
};

use super::{error::OpenProblem, migrate};

/// Held as long as this process works with the file. The operating system gives
/// it up when the process ends, however it ends.
#[derive(Clone)]
pub(super) struct ProcessLock {
    _file: Arc<File>,
}

impl ProcessLock {
    /// Takes the lock (flock(2), which SQLite's own locks know nothing of) on a file,
    /// which is created where it is missing.
    pub(super) fn take(path: &str) -> Result<Self, OpenProblem> {
        migrate::create_private(path).map_err(OpenProblem::Create)?;
        let refused = |error: io::Error| OpenProblem::Unreachable(error.to_string());
        let file = File::open(path).map_err(refused)?;
        match file.try_lock() {
            Ok(()) => Ok(Self {
                _file: Arc::new(file),
            }),
            Err(TryLockError::WouldBlock) => Err(OpenProblem::InUse),
            Err(TryLockError::Error(error)) => Err(refused(error)),
        }
    }
}
