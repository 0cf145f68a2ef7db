//! Delivery to a folder: each message is a file.

use std::{
    fmt,
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use chrono::{DateTime, Utc};

use super::{error::MailError, file_name::FileName, message::EncodedMessage};

/// The folder. Each file with the extension `.eml` is complete and on disk. The folder may contain
/// other files: only those are removed whose names mark them as expired messages of this service.
pub(super) struct Folder {
    path: PathBuf,
}

impl Folder {
    pub(super) fn new(path: PathBuf) -> Self {
        Self { path }
    }

    /// Writes a message under a name that sorts by time and contains the time of its expiry.
    ///
    /// # Errors
    ///
    /// When the folder cannot be created or written to.
    pub(super) async fn store(
        &self,
        message: EncodedMessage,
        now: DateTime<Utc>,
        expires_at: Option<DateTime<Utc>>,
    ) -> Result<(), MailError> {
        let name = FileName::new(now, expires_at)?;
        let path = self.path.clone();
        let written = tokio::task::spawn_blocking(move || write(&path, &name, &message.bytes));
        written
            .await
            .unwrap_or_else(|panicked| Err(io::Error::other(panicked)))
            .map_err(|cause| MailError::Folder {
                path: self.path.clone(),
                cause,
            })
    }

    /// Removes expired messages, including those of earlier processes, and returns their
    /// number.
    ///
    /// # Errors
    ///
    /// When the folder exists and cannot be read, or a file cannot be removed.
    pub(super) async fn remove_expired(&self, now: DateTime<Utc>) -> Result<usize, MailError> {
        let path = self.path.clone();
        let removed = tokio::task::spawn_blocking(move || remove_expired(&path, now));
        removed
            .await
            .unwrap_or_else(|panicked| Err(io::Error::other(panicked)))
            .map_err(|cause| MailError::Expired {
                path: self.path.clone(),
                cause,
            })
    }
}

impl fmt::Display for Folder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Absolute, since readers of the log may not know the working directory.
        let path = std::path::absolute(&self.path);
        write!(f, "{}", path.as_ref().unwrap_or(&self.path).display())
    }
}

fn write(folder: &Path, name: &FileName, bytes: &[u8]) -> io::Result<()> {
    create(folder)?;
    let unfinished = folder.join(name.unfinished());
    let finished = folder.join(name.finished());
    let written = write_new(&unfinished, bytes)
        .and_then(|()| fs::rename(&unfinished, finished))
        .and_then(|()| sync(folder));
    if written.is_err() {
        let _ = fs::remove_file(unfinished);
    }
    written
}

fn write_new(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

fn create(folder: &Path) -> io::Result<()> {
    if folder.is_dir() {
        return Ok(());
    }
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder)?;
    match folder.parent() {
        Some(parent) if parent != Path::new("") => sync(parent),
        _ => sync(Path::new(".")),
    }
}

/// Removes expired files, including unfinished ones, which remain after a crash.
fn remove_expired(folder: &Path, now: DateTime<Utc>) -> io::Result<usize> {
    let entries = match fs::read_dir(folder) {
        // It is created for the first message.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(0),
        entries => entries?,
    };
    let (mut removed, mut outcome) = (0, Ok(()));
    for entry in entries {
        let entry = entry?;
        let expires_at = entry.file_name().to_str().and_then(FileName::expiry);
        if expires_at.is_none_or(|expires_at| now < expires_at) || !entry.file_type()?.is_file() {
            continue;
        }
        match fs::remove_file(entry.path()) {
            Ok(()) => removed += 1,
            // Another node, or a person, has removed it first.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => outcome = Err(error),
        }
    }
    if removed > 0 {
        sync(folder)?;
    }
    outcome.map(|()| removed)
}

/// Syncs a folder, so that files renamed or created in it are on disk.
fn sync(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_left_of_a_message_that_could_not_be_written() {
        let folder = tempfile::tempdir().unwrap();
        let name = FileName::new(DateTime::UNIX_EPOCH, None).unwrap();
        let taken = folder.path().join(name.finished());
        fs::create_dir_all(taken.join("inside")).unwrap();
        write(folder.path(), &name, b"text").unwrap_err();
        let names: Vec<_> = fs::read_dir(folder.path())
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .collect();
        assert_eq!(names, [taken]);
    }
}
