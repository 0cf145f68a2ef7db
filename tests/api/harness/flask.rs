//! The Flask service that Bienvenue replaces, with the real Flask, SQLAlchemy and bcrypt.

use std::{
    env,
    io::{BufRead as _, BufReader},
    net::{Ipv4Addr, SocketAddr},
    process::{Child, Command, Stdio},
};

use tempfile::TempDir;

use super::postgres::say_skipped;

const SERVICE: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/tests/fixtures/flask/service.py"
);

/// The service on its own port and database; it ends when dropped.
pub struct FlaskService {
    pub address: SocketAddr,
    child: Child,
    _folder: TempDir,
}

impl FlaskService {
    /// Starts it with the Python of `TEST_FLASK_PYTHON`, which needs the packages of
    /// `tests/fixtures/flask/requirements.txt`; `None`, with a message, without that variable.
    pub fn start() -> Option<Self> {
        let Some(python) = env::var_os("TEST_FLASK_PYTHON") else {
            say_skipped(
                "the comparison with the Flask service",
                "Install tests/fixtures/flask/requirements.txt into a virtual environment, and \
                 set TEST_FLASK_PYTHON to its python",
            );
            return None;
        };
        let folder = tempfile::tempdir().expect("a temporary folder");
        let log = std::fs::File::create(folder.path().join("log")).expect("a file");
        let mut child = Command::new(python)
            .arg("-B")
            .arg(SERVICE)
            .arg(folder.path().join("flask.db"))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .expect("the Python of TEST_FLASK_PYTHON");
        let mut line = String::new();
        BufReader::new(child.stdout.take().expect("its output"))
            .read_line(&mut line)
            .expect("a line");
        let Ok(port) = line.trim().parse() else {
            let log = std::fs::read_to_string(folder.path().join("log"));
            panic!(
                "the Flask service does not start: {}",
                log.unwrap_or_default()
            );
        };
        Some(Self {
            address: (Ipv4Addr::LOCALHOST, port).into(),
            child,
            _folder: folder,
        })
    }
}

impl Drop for FlaskService {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
