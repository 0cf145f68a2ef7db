//! One shell, into which one command after the other is typed.

use std::{
    fmt, fs,
    io::{BufRead as _, BufReader, Write as _},
    os::unix::{fs::symlink, process::CommandExt as _},
    path::{Path, PathBuf},
    process::{Child, ChildStdin, Command, Stdio},
    sync::mpsc::{self, Receiver},
    thread,
    time::{Duration, Instant},
};

use tempfile::TempDir;

const BINARY: &str = env!("CARGO_BIN_EXE_bienvenue");

/// The commands of cargo that the pages use. Each is the last command of its terminal.
pub const PRELUDE: &str = r#"
cargo() {
    case "$*" in
        "run --release") exec target/release/bienvenue ;;
        test) ;;
        *) echo "cargo $* is not known here" >&2; return 1 ;;
    esac
}
"#;

/// bash in a folder of its own, in which the relative paths of the pages exist. Dropping it
/// ends the shell and its children.
pub struct Shell {
    child: Child,
    input: ChildStdin,
    ends: Receiver<String>,
    folder: TempDir,
    commands: usize,
}

/// The output of a command, so far.
pub struct Outcome {
    pub is_success: bool,
    stdout: PathBuf,
    stderr: PathBuf,
}

impl Outcome {
    pub fn stdout(&self) -> String {
        fs::read_to_string(&self.stdout).expect("its output")
    }

    pub fn stderr(&self) -> String {
        fs::read_to_string(&self.stderr).expect("its errors")
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.stdout(), self.stderr())
    }
}

impl Shell {
    pub fn start(grpcurl: Option<&Path>, default_address: &str) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let home = folder.path();
        for made in ["target/release", "programs"] {
            fs::create_dir_all(home.join(made)).expect("a folder");
        }
        let repository = Path::new(env!("CARGO_MANIFEST_DIR"));
        for (there, here) in [
            (Path::new(BINARY), "target/release/bienvenue"),
            (&repository.join("tests"), "tests"),
            (&repository.join("proto"), "proto"),
        ] {
            symlink(there, home.join(here)).expect("a link");
        }
        if let Some(grpcurl) = grpcurl {
            symlink(grpcurl, home.join("programs/grpcurl")).expect("a link");
        }
        let programs = home.join("programs");
        let mut child = Command::new("bash")
            .args(["--noprofile", "--norc"])
            .current_dir(home)
            .env_clear()
            .env(
                "PATH",
                format!("{}:/usr/local/bin:/usr/bin:/bin", programs.display()),
            )
            .env("HOME", home)
            .env("BIENVENUE_LISTEN", default_address)
            .env("BIENVENUE_BCRYPT_COST", "4")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            // So that its children can be ended along with it.
            .process_group(0)
            .spawn()
            .expect("bash starts");
        let mut input = child.stdin.take().expect("its input");
        input.write_all(PRELUDE.as_bytes()).expect("a prelude");
        let lines = BufReader::new(child.stdout.take().expect("its output")).lines();
        let (end, ends) = mpsc::channel();
        thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                let _ = end.send(line);
            }
        });
        Self {
            child,
            input,
            ends,
            folder,
            commands: 0,
        }
    }

    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Runs a command to its end, or lets it go on as in a terminal of its own: as the server
    /// that [`interrupt`](Self::interrupt) ends, or as something else.
    pub fn run(&mut self, command: &str, is_server: bool, goes_on: bool) -> Outcome {
        self.commands += 1;
        let file = |kind: &str| self.folder().join(format!("{kind}.{}", self.commands));
        let (stdout, stderr) = (file("stdout"), file("stderr"));
        let end = match (goes_on, is_server) {
            (false, _) => "",
            (true, false) => " &",
            (true, true) => " & terminal=$!",
        };
        let (out, err) = (stdout.display(), stderr.display());
        let typed = format!("{{\n{command}{end}\n}} > {out} 2> {err} < /dev/null\necho $?\n");
        self.input.write_all(typed.as_bytes()).expect("a shell");
        let status = self.ends.recv_timeout(Duration::from_secs(120));
        Outcome {
            is_success: status.unwrap_or_else(|_| panic!("$ {command} does not end")) == "0",
            stdout,
            stderr,
        }
    }

    /// Presses Ctrl-C in the terminal of the server.
    pub fn interrupt(&mut self) {
        let ended = self.run("kill -INT $terminal && wait $terminal", false, false);
        assert!(ended.is_success, "Ctrl-C ends the server: {ended}");
    }

    /// Waits until a mail with a reset token lies in `outbox/`.
    pub fn await_reset_mail(&self, patience: Duration) {
        let start = Instant::now();
        let is_there = || {
            let files = fs::read_dir(self.folder().join("outbox")).ok()?;
            let paths = files.flatten().map(|file| file.path());
            // Under another name it is still being written.
            let mails = paths.filter(|path| path.extension().is_some_and(|kind| kind == "eml"));
            let mails = mails.map(fs::read_to_string);
            mails.flatten().find(|mail| mail.contains("reset_token="))
        };
        while is_there().is_none() {
            assert!(start.elapsed() < patience, "no mail");
            thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Shell {
    fn drop(&mut self) {
        let group = format!("-{}", self.child.id());
        let _ = Command::new("kill").args(["-KILL", "--", &group]).status();
        let _ = self.child.wait();
    }
}
