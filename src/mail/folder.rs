//! Messages as files, one each.

use std::{
    fmt,
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use chrono::{DateTime, Utc};

use super::{error::MailError, file_name::FileName, message::Letter};

/// The folder. A file in it that ends in `.eml` is whole and on disk. Files of others may
/// stand beside those of this service: nothing is removed but what its name marks as a
/// message of this service that has expired.
pub(super) struct Folder {
    path: PathBuf,
}

impl Folder {
    pub(super) fn new(path: PathBuf) -> Self {
        Self { path }
    }

    /// Writes one message under a name that sorts by time and says when it expires.
    ///
    /// # Errors
    ///
    /// When the folder cannot be made or written to.
    pub(super) async fn keep(
        &self,
        letter: Letter,
        now: DateTime<Utc>,
        expires_at: Option<DateTime<Utc>>,
    ) -> Result<(), MailError> {
        let name = FileName::new(now, expires_at)?;
        let path = self.path.clone();
        let written = tokio::task::spawn_blocking(move || write(&path, &name, &letter.bytes));
        written
            .await
            .unwrap_or_else(|gone| Err(io::Error::other(gone)))
            .map_err(|cause| MailError::Folder {
                path: self.path.clone(),
                cause,
            })
    }

    /// Removes the messages that have expired, those of earlier processes included;
    /// returns how many there were.
    ///
    /// # Errors
    ///
    /// When the folder is there and cannot be read, or a file not be removed.
    pub(super) async fn remove_expired(&self, now: DateTime<Utc>) -> Result<usize, MailError> {
        let path = self.path.clone();
        let removed = tokio::task::spawn_blocking(move || remove_expired(&path, now));
        removed
            .await
            .unwrap_or_else(|gone| Err(io::Error::other(gone)))
            .map_err(|cause| MailError::Expired {
                path: self.path.clone(),
                cause,
            })
    }
}

impl fmt::Display for Folder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Where it is, wherever the process was started.
        let path = std::path::absolute(&self.path);
        write!(f, "{}", path.as_ref().unwrap_or(&self.path).display())
    }
}

fn write(folder: &Path, name: &FileName, bytes: &[u8]) -> io::Result<()> {
    make(folder)?;
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

fn make(folder: &Path) -> io::Result<()> {
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

/// An unfinished file, which only a crash leaves behind, is removed like a finished one.
fn remove_expired(folder: &Path, now: DateTime<Utc>) -> io::Result<usize> {
    let entries = match fs::read_dir(folder) {
        // It is made when there is a message.
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
            // Somebody else was faster: another node, or a person.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => outcome = Err(error),
        }
    }
    if removed > 0 {
        sync(folder)?;
    }
    outcome.map(|()| removed)
}

/// What was renamed or made in a folder is on disk when the folder is.
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
