//! A server on a core of its own: ours, or the bare one.

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

/// The argument that makes of this binary the bare server.
pub const BARE: &str = "bare-server";

const BINARY: &str = env!("CARGO_BIN_EXE_bienvenue");

/// More than any database here has.
const INDEX_SIZE: &str = "--session-index-size=1100000";

/// What the log says when all sessions are at hand, and how long that may take.
const WARM: &str = "the session index holds every session";
const LONGEST_WARMING: Duration = Duration::from_secs(60);

/// Killed when dropped.
pub struct Server(Process);

impl Server {
    /// Ours, once it has all sessions at hand.
    pub fn start(core: u32, database: &Database) -> Self {
        let mut command = cores::command(core, Path::new(BINARY));
        command
            .args(["--listen=127.0.0.1:0", "--database-url", database.url()])
            .arg(INDEX_SIZE)
            // Mails, should there be any, are nobody's.
            .current_dir(env::temp_dir())
            .stderr(Stdio::piped());
        let mut process = start(&mut command);
        let warm = watch(process.child.stderr.take().expect("its log"));
        if warm.recv_timeout(LONGEST_WARMING).is_err() {
            eprintln!("the log does not say {WARM:?}");
        }
        Self(process)
    }

    /// One that asks nobody and looks nothing up.
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

    /// The memory that it has, in bytes.
    pub fn memory(&self) -> f64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.0.child.id()));
        let status = status.expect("its status");
        let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kilobytes = resident.and_then(|text| text.trim().strip_suffix(" kB"));
        let kilobytes: f64 = kilobytes.expect("a size").parse().expect("a number");
        kilobytes * 1024.0
    }
}

/// Makes an empty database one of ours.
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

/// Reads a log to its end, whatever is in it, so that the server can go on writing,
/// and tells when it says that all sessions are at hand.
fn watch(log: ChildStderr) -> Receiver<()> {
    let (tell, told) = mpsc::channel();
    thread::spawn(move || {
        let mut log = BufReader::new(log);
        let mut line = Vec::new();
        while log.read_until(b'\n', &mut line).is_ok_and(|read| read > 0) {
            if String::from_utf8_lossy(&line).contains(WARM) {
                let _ = tell.send(());
                break;
            }
            line.clear();
        }
        let mut rest = vec![0; 64 * 1024];
        while log.read(&mut rest).is_ok_and(|read| read > 0) {}
    });
    told
}
