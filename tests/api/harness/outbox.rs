//! The folder that mail is written to.

use std::{
    collections::HashSet,
    fs,
    path::{Path, PathBuf},
    sync::Mutex,
    time::{Duration, Instant},
};

use tempfile::TempDir;
use tokio::time::sleep;

use super::smtp::Mail;

/// How long a mail may take.
const PATIENCE: Duration = Duration::from_secs(20);

/// A folder of a test's own.
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

    /// Waits for the next mail that was not returned yet.
    pub async fn next(&self) -> Mail {
        let start = Instant::now();
        loop {
            if let Some(mail) = self.unseen() {
                return mail;
            }
            assert!(start.elapsed() < PATIENCE, "no mail");
            sleep(Duration::from_millis(2)).await;
        }
    }

    /// The next mail that is there already.
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
