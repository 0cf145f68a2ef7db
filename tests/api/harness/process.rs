//! The real binary, as an operator runs it.

use std::{
    ffi::OsStr,
    fs::{self, Permissions},
    io::{BufRead as _, BufReader, Read as _},
    net::SocketAddr,
    os::unix::{ffi::OsStrExt as _, fs::PermissionsExt as _},
    path::Path,
    process::{Child, Command, ExitStatus, Stdio},
    sync::mpsc,
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use tempfile::TempDir;
use tokio::time::sleep;
use tonic::Status;

use super::{Watcher, watch::TokenFile};

/// Started, killed when dropped.
pub struct Process {
    pub address: SocketAddr,
    /// Of the internal listener, where that is on.
    pub admin_address: Option<SocketAddr>,
    pub greeting: String,
    child: Child,
    errors: Option<JoinHandle<String>>,
}

/// How a process ended.
#[derive(Debug)]
pub struct Ended {
    pub code: Option<i32>,
    pub output: String,
    pub errors: String,
}

/// The binary with a clean environment, in a folder of the caller's.
pub fn command(folder: &Path) -> Command {
    command_of(Path::new(BINARY), folder)
}

const BINARY: &str = env!("CARGO_BIN_EXE_bienvenue");

/// A copy of the binary where every user of the machine may run it: the build's
/// own folder may be closed to them.
pub struct Binary {
    folder: TempDir,
}

impl Binary {
    pub fn for_anybody() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let copy = folder.path().join("bienvenue");
        // Another process writes it: a child that another test starts meanwhile
        // would inherit our descriptor, and what is open for writing cannot be run
        // (ETXTBSY).
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

/// Runs it to its end.
pub fn run(mut command: Command) -> Ended {
    let output = command.output().expect("the binary runs");
    Ended {
        code: output.status.code(),
        output: String::from_utf8(output.stdout).expect("UTF-8"),
        errors: String::from_utf8(output.stderr).expect("UTF-8"),
    }
}

impl Process {
    /// Starts it on a port of its own and waits until it says where.
    pub fn start(folder: &Path, settings: &[&str]) -> Self {
        let mut command = command(folder);
        command.args(["--listen=127.0.0.1:0"]).args(settings);
        Self::spawn(command)
    }

    /// The same with the internal listener on.
    pub fn start_watched(folder: &Path, settings: &[&str]) -> Self {
        let token_file = TokenFile::new();
        let internal = token_file.settings();
        let internal = internal.iter().map(String::as_str);
        let all: Vec<&str> = internal.chain(settings.iter().copied()).collect();
        Self::start(folder, &all)
    }

    /// Watches what ends sessions.
    pub async fn watch(&self, since: Option<i64>) -> Result<Watcher, Status> {
        let address = self.admin_address.expect("an internal listener");
        Watcher::begin(address, since).await
    }

    pub fn spawn(command: Command) -> Self {
        Self::try_spawn(command).unwrap_or_else(|errors| panic!("no address; errors: {errors}"))
    }

    /// Starts it; or what it said where it did not start.
    pub fn try_spawn(command: Command) -> Result<Self, String> {
        let (read, may_read) = mpsc::channel();
        drop(read);
        Self::try_spawn_unread(command, may_read)
    }

    /// Starts it; its log is not read until the other end of a channel is dropped.
    pub fn spawn_unread(command: Command, may_read: mpsc::Receiver<()>) -> Self {
        Self::try_spawn_unread(command, may_read).unwrap_or_else(|errors| panic!("{errors}"))
    }

    fn try_spawn_unread(
        mut command: Command,
        may_read: mpsc::Receiver<()>,
    ) -> Result<Self, String> {
        let mut child = command.spawn().expect("the binary starts");
        let mut stderr = child.stderr.take().expect("its errors");
        let errors = thread::spawn(move || {
            let _ = may_read.recv();
            let mut text = String::new();
            let _ = stderr.read_to_string(&mut text);
            text
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
            return Err(errors.join().expect("its errors"));
        };
        // The next line, where it is asked for.
        let is_internal = |argument: &OsStr| argument.as_bytes().starts_with(b"--admin-listen");
        let mut internal = String::new();
        if command.get_args().any(is_internal) {
            stdout.read_line(&mut internal).expect("a second line");
        }
        let admin_address = internal
            .strip_prefix("The internal listener is on ")
            .and_then(|rest| rest.split_whitespace().next()?.parse().ok());
        // It says more than that; nobody reads it.
        thread::spawn(move || {
            let _ = stdout.read_to_end(&mut Vec::new());
        });
        Ok(Self {
            address,
            admin_address,
            greeting,
            child,
            errors: Some(errors),
        })
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// The CPU time that it has used, to a hundredth of a second.
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

    /// Waits until it has burnt more CPU time than anything but a hash takes.
    pub async fn is_hashing(&self) {
        let start = self.cpu_time();
        while self.cpu_time() < start + Duration::from_millis(30) {
            sleep(Duration::from_millis(1)).await;
        }
    }

    /// Sends a signal by its name.
    pub fn signal(&self, name: &str) {
        let sent = Command::new("kill")
            .args([&format!("-{name}"), &self.id().to_string()])
            .status()
            .expect("kill runs");
        assert!(sent.success());
    }

    /// Waits for the end; returns the exit status and the log.
    pub fn wait(mut self) -> (ExitStatus, String) {
        let start = Instant::now();
        let status = loop {
            if let Some(status) = self.child.try_wait().expect("its end") {
                break status;
            }
            assert!(start.elapsed() < Duration::from_secs(30), "it does not end");
            thread::sleep(Duration::from_millis(5));
        };
        let errors = self.errors.take().expect("its errors");
        (status, errors.join().expect("its errors"))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
