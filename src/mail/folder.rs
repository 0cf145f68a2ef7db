//! Messages as files, one each.

use std::{
    fmt,
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use chrono::{DateTime, Utc};

use super::{
    error::MailError,
    letter::{Letter, random_name},
};

/// The folder. A file in it that ends in `.eml` is whole and on disk.
pub(super) struct Folder {
    path: PathBuf,
}

impl Folder {
    pub(super) fn new(path: PathBuf) -> Self {
        Self { path }
    }

    /// Writes one message under a name that sorts by time, such as
    /// `20261121T010042.123456Z-….eml`.
    ///
    /// # Errors
    ///
    /// When the folder cannot be made or written to.
    pub(super) async fn keep(&self, letter: Letter, now: DateTime<Utc>) -> Result<(), MailError> {
        let name = format!("{}-{}", now.format("%Y%m%dT%H%M%S%.6fZ"), random_name()?);
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
}

impl fmt::Display for Folder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Where it is, wherever the process was started.
        let path = std::path::absolute(&self.path);
        write!(f, "{}", path.as_ref().unwrap_or(&self.path).display())
    }
}

fn write(folder: &Path, name: &str, bytes: &[u8]) -> io::Result<()> {
    make(folder)?;
    let unfinished = folder.join(format!(".{name}.tmp"));
    let finished = folder.join(format!("{name}.eml"));
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
        let taken = folder.path().join("one.eml");
        fs::create_dir_all(taken.join("inside")).unwrap();
        write(folder.path(), "one", b"text").unwrap_err();
        let names: Vec<_> = fs::read_dir(folder.path())
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .collect();
        assert_eq!(names, [taken]);
    }
}
