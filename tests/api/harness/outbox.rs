//! The folder for written mail.

use std::{
    collections::HashSet,
    fs,
    path::{Path, PathBuf},
    sync::Mutex,
};

use tempfile::TempDir;

use super::{eventually_some, smtp::Mail};

/// A temporary outbox folder.
pub struct Outbox {
    folder: TempDir,
    seen: Mutex<HashSet<PathBuf>>,
}

impl Outbox {
    pub fn new() -> Self {
        Self {
            folder: tempfile::tempdir().expect("a temporary folder"),
            seen: Mutex::default(),
        }
    }

    pub fn path(&self) -> PathBuf {
        self.folder.path().join("outbox")
    }

    /// Waits for the next mail.
    pub async fn next(&self) -> Mail {
        eventually_some("a mail", async || self.unseen()).await
    }

    /// The next mail, if it is already written.
    pub fn unseen(&self) -> Option<Mail> {
        let mut seen = self.seen.lock().expect("a lock");
        let path = mails_in(&self.path())
            .into_iter()
            .find(|path| !seen.contains(path))?;
        let raw = fs::read(&path).expect("a mail");
        seen.insert(path);
        Some(Mail::parse(&raw))
    }
}

/// The mails in a folder, the oldest first.
pub fn mails_in(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten();
    let mut paths: Vec<PathBuf> = entries
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "eml"))
        .collect();
    paths.sort();
    paths
}
