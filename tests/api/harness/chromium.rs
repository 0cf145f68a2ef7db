//! A real browser: the one that `TEST_CHROMIUM` names, else an installed one, else none.

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

/// The names under which distributions install it.
const NAMES: [&str; 4] = ["chromium", "chromium-browser", "google-chrome", "chrome"];

/// A browser without a window and with an empty profile. It ends, with all the processes
/// that it has started, when this is dropped.
pub struct Chromium {
    child: Child,
    profile: TempDir,
}

impl Chromium {
    /// Opens a page; `None` where there is no browser, said loudly.
    ///
    /// Names below `.localhost` lead to this machine, and every certificate is taken.
    pub fn open(url: &str) -> Option<Self> {
        let Some(program) = find() else {
            say_skipped(
                "what a real browser does",
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
            // So that its children can be ended along with it.
            .process_group(0)
            .spawn()
            .expect("Chromium starts");
        Some(Self { child, profile })
    }

    /// What it has complained of.
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
