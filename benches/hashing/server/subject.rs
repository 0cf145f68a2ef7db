//! The measured server: the real binary, in its own folder.

use std::{
    fs::{self, File},
    ops::Deref,
    process::Command,
};

use tempfile::TempDir;

use crate::process::Process;

/// A running server, killed when dropped.
pub struct Subject {
    process: Process,
    /// Contains the database and the log.
    _folder: TempDir,
}

impl Subject {
    /// Starts a server on a free port.
    pub fn start(settings: &[&str]) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let log = folder.path().join("log");
        let mut command = Command::new(env!("CARGO_BIN_EXE_bienvenue"));
        command
            .current_dir(folder.path())
            .env_clear()
            .args(["--listen=127.0.0.1:0", "--database-url=sqlite:bienvenue.db"])
            .args(settings)
            .stderr(File::create(&log).expect("a log"));
        let process = Process::start(&mut command).unwrap_or_else(|greeting| {
            let log = fs::read_to_string(log).unwrap_or_default();
            panic!("the server does not start: {greeting}{log}");
        });
        Self {
            process,
            _folder: folder,
        }
    }
}

impl Deref for Subject {
    type Target = Process;

    fn deref(&self) -> &Process {
        &self.process
    }
}
