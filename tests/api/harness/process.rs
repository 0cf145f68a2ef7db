//! The real binary, in a process of its own.

use std::{
    ffi::OsStr,
    fs::{self, Permissions},
    io::{BufRead as _, BufReader, Read as _},
    net::SocketAddr,
    os::unix::{ffi::OsStrExt as _, fs::PermissionsExt as _},
    path::Path,
    process::{Child, Command, ExitStatus, Stdio},
    sync::{Arc, Mutex, mpsc},
    thread::{self, JoinHandle},
    time::Duration,
};

use tempfile::TempDir;
use tonic::Status;

use super::{Watcher, eventually, eventually_blocking, watch::TokenFile};

/// A running process, killed when dropped.
pub struct Process {
    pub address: SocketAddr,
    /// The internal listener's address, where it is on.
    pub admin_address: Option<SocketAddr>,
    pub greeting: String,
    child: Child,
    /// What it has written to standard error so far.
    log: Arc<Mutex<String>>,
    reader: Option<JoinHandle<()>>,
}

/// The outcome of a process.
#[derive(Debug)]
pub struct Ended {
    pub code: Option<i32>,
    pub output: String,
    pub errors: String,
}

/// The binary with an empty environment, in this folder.
pub fn command(folder: &Path) -> Command {
    command_of(Path::new(BINARY), folder)
}

const BINARY: &str = env!("CARGO_BIN_EXE_bienvenue");

/// A copy of the binary that every user of the machine may run: the build's folder may be
/// private.
pub struct Binary {
    folder: TempDir,
}

impl Binary {
    pub fn for_all_users() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let copy = folder.path().join("bienvenue");
        // Written by another process: a concurrently started child would inherit this
        // process's descriptor, and a file open for writing cannot be executed (ETXTBSY).
        let copied = Command::new("cp").arg(BINARY).arg(&copy).status();
        assert!(copied.expect("cp runs").success(), "a copy");
        for path in [folder.path(), &copy] {
            fs::set_permissions(path, Permissions::from_mode(0o755)).expect("chmod");
        }
        Self { folder }
    }

    pub fn command(&self, folder: &Path) -> Command {
        command_of(&self.folder.path().join("bienvenue"), folder)
    }
}

fn command_of(binary: &Path, folder: &Path) -> Command {
    let mut command = Command::new(binary);
    command
        .current_dir(folder)
        .env_clear()
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

/// Runs a command to its end.
pub fn run(mut command: Command) -> Ended {
    let output = command.output().expect("the binary runs");
    Ended {
        code: output.status.code(),
        output: String::from_utf8(output.stdout).expect("UTF-8"),
        errors: String::from_utf8(output.stderr).expect("UTF-8"),
    }
}

impl Process {
    /// Starts the server on a free port and waits for its greeting.
    pub fn start(folder: &Path, settings: &[&str]) -> Self {
        let mut command = command(folder);
        command.args(["--listen=127.0.0.1:0"]).args(settings);
        Self::spawn(command)
    }

    /// Like [`Process::start`], with the internal listener.
    pub fn start_watched(folder: &Path, settings: &[&str]) -> Self {
        let token_file = TokenFile::new();
        let internal = token_file.settings();
        let internal = internal.iter().map(String::as_str);
        let all: Vec<&str> = internal.chain(settings.iter().copied()).collect();
        Self::start(folder, &all)
    }

    /// Opens a stream of revocations.
    pub async fn watch(&self, since: Option<i64>) -> Result<Watcher, Status> {
        let address = self.admin_address.expect("an internal listener");
        Watcher::begin(address, since).await
    }

    pub fn spawn(command: Command) -> Self {
        Self::try_spawn(command).unwrap_or_else(|errors| panic!("no address; errors: {errors}"))
    }

    /// Starts the server; returns its errors where it does not start.
    pub fn try_spawn(command: Command) -> Result<Self, String> {
        let (read, may_read) = mpsc::channel();
        drop(read);
        Self::try_spawn_unread(command, may_read)
    }

    /// Starts the server; its log is not read until the channel's sender is dropped.
    pub fn spawn_unread(command: Command, may_read: mpsc::Receiver<()>) -> Self {
        Self::try_spawn_unread(command, may_read).unwrap_or_else(|errors| panic!("{errors}"))
    }

    fn try_spawn_unread(
        mut command: Command,
        may_read: mpsc::Receiver<()>,
    ) -> Result<Self, String> {
        let mut child = command.spawn().expect("the binary starts");
        let mut stderr = BufReader::new(child.stderr.take().expect("its errors"));
        let log = Arc::new(Mutex::new(String::new()));
        let written = Arc::clone(&log);
        let reader = thread::spawn(move || {
            let _ = may_read.recv();
            let mut line = String::new();
            while stderr.read_line(&mut line).is_ok_and(|read| read > 0) {
                written.lock().expect("the log").push_str(&line);
                line.clear();
            }
        });
        let mut stdout = BufReader::new(child.stdout.take().expect("its output"));
        let mut greeting = String::new();
        stdout.read_line(&mut greeting).expect("a greeting");
        let address = greeting
            .split_whitespace()
            .find_map(|word| word.parse().ok());
        let Some(address) = address else {
            let _ = child.kill();
            let _ = child.wait();
            reader.join().expect("its errors");
            return Err(log.lock().expect("the log").clone());
        };
        // The internal listener's line, where it is on.
        let is_internal = |argument: &OsStr| argument.as_bytes().starts_with(b"--admin-listen");
        let mut internal = String::new();
        if command.get_args().any(is_internal) {
            stdout.read_line(&mut internal).expect("a second line");
        }
        let admin_address = internal
            .strip_prefix("The internal listener is on ")
            .and_then(|rest| rest.split_whitespace().next()?.parse().ok());
        // The rest of the output is discarded.
        thread::spawn(move || {
            let _ = stdout.read_to_end(&mut Vec::new());
        });
        Ok(Self {
            address,
            admin_address,
            greeting,
            child,
            log,
            reader: Some(reader),
        })
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Its used CPU time, to a hundredth of a second.
    pub fn cpu_time(&self) -> Duration {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.id())).expect("its statistics");
        let (_, fields) = stat.rsplit_once(") ").expect("a name in brackets");
        // User and system time (proc(5)), in ticks of 10 ms.
        let ticks: u64 = fields
            .split(' ')
            .skip(11)
            .take(2)
            .map(|field| field.parse::<u64>().expect("a number"))
            .sum();
        Duration::from_millis(ticks * 10)
    }

    /// Waits until it has used more CPU time than any work except a hash.
    pub async fn until_hashing(&self) {
        let start = self.cpu_time();
        eventually("a hash is computed", async || {
            self.cpu_time() >= start + Duration::from_millis(30)
        })
        .await;
    }

    /// Its log so far.
    fn log(&self) -> String {
        self.log.lock().expect("the log").clone()
    }

    /// Waits until a text is in its log.
    pub async fn until_logged(&self, text: &str) {
        eventually(format!("{text:?} in the log"), async || {
            self.log().contains(text)
        })
        .await;
    }

    /// Sends a signal by name.
    pub fn signal(&self, name: &str) {
        let sent = Command::new("kill")
            .args([&format!("-{name}"), &self.id().to_string()])
            .status()
            .expect("kill runs");
        assert!(sent.success());
    }

    /// Waits for the end; returns the exit status and the log.
    pub fn wait(mut self) -> (ExitStatus, String) {
        let mut status = None;
        eventually_blocking("the process ends", || {
            status = self.child.try_wait().expect("its state");
            status.is_some()
        });
        let status = status.expect("an exit status");
        let reader = self.reader.take().expect("its errors");
        reader.join().expect("its errors");
        (status, self.log())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
