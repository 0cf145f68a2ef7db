//! A real browser: that of `TEST_CHROMIUM`, else an installed one, else none.

use std::{
    fs,
    os::unix::process::CommandExt as _,
    path::PathBuf,
    process::{Child, Command, Stdio},
};

use tempfile::TempDir;

use super::{
    postgres::say_skipped,
    programs::{installed, named_by},
};

/// Its names in distributions.
const NAMES: [&str; 4] = ["chromium", "chromium-browser", "google-chrome", "chrome"];

/// A headless browser with an empty profile. It ends with all its processes when dropped.
pub struct Chromium {
    child: Child,
    profile: TempDir,
}

impl Chromium {
    /// Opens a page; `None`, with a message, where no browser is installed.
    ///
    /// Names below `.localhost` resolve to this machine, and every certificate is accepted.
    pub fn open(url: &str) -> Option<Self> {
        let Some(program) = find() else {
            say_skipped(
                "the tests in a real browser",
                "Install chromium or set TEST_CHROMIUM",
            );
            return None;
        };
        let profile = tempfile::tempdir().expect("a temporary folder");
        let log = fs::File::create(profile.path().join("log")).expect("a file");
        let child = Command::new(program)
            .args([
                "--headless",
                "--no-sandbox",
                "--disable-gpu",
                "--disable-quic",
            ])
            .args(["--no-first-run", "--disable-background-networking"])
            .args([
                "--disable-component-update",
                "--disable-sync",
                "--disable-dev-shm-usage",
            ])
            .args([
                "--ignore-certificate-errors",
                "--no-proxy-server",
                "--remote-debugging-port=0",
            ])
            .arg(format!(
                "--user-data-dir={}",
                profile.path().join("data").display()
            ))
            .arg(url)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            // Its children are ended with it, by the group.
            .process_group(0)
            .spawn()
            .expect("Chromium starts");
        Some(Self { child, profile })
    }

    /// Its log.
    pub fn log(&self) -> String {
        fs::read_to_string(self.profile.path().join("log")).unwrap_or_default()
    }
}

impl Drop for Chromium {
    fn drop(&mut self) {
        let group = format!("-{}", self.child.id());
        let _ = Command::new("kill").args(["-KILL", "--", &group]).status();
        let _ = self.child.wait();
    }
}

fn find() -> Option<PathBuf> {
    named_by("TEST_CHROMIUM").or_else(|| NAMES.into_iter().find_map(installed))
}
