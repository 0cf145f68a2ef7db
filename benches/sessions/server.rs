//! A server on its own core: Bienvenue, or the bare server.

use std::{
    env, fs,
    io::{BufRead as _, BufReader, Read as _},
    net::SocketAddr,
    path::Path,
    process::{ChildStderr, Command, Stdio},
    sync::mpsc::{self, Receiver},
    thread,
    time::Duration,
};

use crate::{
    cores,
    database::Database,
    process::{Process, ThreadTimes},
};

/// The argument for this binary to run as the bare server.
pub const BARE: &str = "bare-server";

const BINARY: &str = env!("CARGO_BIN_EXE_bienvenue");

/// More than the sessions of any database here.
const INDEX_SIZE: &str = "--session-index-size=1100000";

/// The log line of a loaded session cache, and the time limit for loading it.
const WARM: &str = "the session cache holds every session";
const LONGEST_WARMING: Duration = Duration::from_secs(60);

/// A server, killed when dropped.
pub struct Server(Process);

impl Server {
    /// Starts Bienvenue and waits until its session cache is loaded.
    pub fn start(core: u32, database: &Database) -> Self {
        let mut command = cores::command(core, Path::new(BINARY));
        command
            .args(["--listen=127.0.0.1:0", "--database-url", database.url()])
            .arg(INDEX_SIZE)
            // The folder for mail, if any.
            .current_dir(env::temp_dir())
            .stderr(Stdio::piped());
        let mut process = start(&mut command);
        let warm = watch(process.child.stderr.take().expect("its log"));
        let loaded = warm.recv_timeout(LONGEST_WARMING);
        assert!(loaded.is_ok(), "the log does not say {WARM:?}");
        Self(process)
    }

    /// Starts the bare server.
    pub fn start_bare(core: u32) -> Self {
        let own = env::current_exe().expect("this binary");
        Self(start(cores::command(core, &own).arg(BARE)))
    }

    pub fn address(&self) -> SocketAddr {
        self.0.address
    }

    pub fn threads(&self) -> ThreadTimes {
        self.0.threads()
    }

    /// Its resident memory, in bytes.
    pub fn memory(&self) -> f64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.0.child.id()));
        let status = status.expect("its status");
        let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kilobytes = resident.and_then(|text| text.trim().strip_suffix(" kB"));
        let kilobytes: f64 = kilobytes.expect("a size").parse().expect("a number");
        kilobytes * 1024.0
    }
}

/// Creates the schema in an empty database.
pub fn migrate(core: u32, database: &Database) {
    drop(start(
        cores::command(core, Path::new(BINARY))
            .args(["--listen=127.0.0.1:0", "--database-url", database.url()])
            .current_dir(env::temp_dir())
            .stderr(Stdio::null()),
    ));
}

fn start(command: &mut Command) -> Process {
    Process::start(command).unwrap_or_else(|greeting| {
        panic!("the server does not start: {greeting}{command:?}");
    })
}

/// Reads a log to its end, so that the server is not blocked, and signals when the session
/// index is loaded.
fn watch(log: ChildStderr) -> Receiver<()> {
    let (signal, loaded) = mpsc::channel();
    thread::spawn(move || {
        let mut log = BufReader::new(log);
        let mut line = Vec::new();
        while log.read_until(b'\n', &mut line).is_ok_and(|read| read > 0) {
            if String::from_utf8_lossy(&line).contains(WARM) {
                let _ = signal.send(());
                break;
            }
            line.clear();
        }
        let mut rest = vec![0; 64 * 1024];
        while log.read(&mut rest).is_ok_and(|read| read > 0) {}
    });
    loaded
}
