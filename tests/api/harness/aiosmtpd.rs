//! A real mail server, aiosmtpd, started by `tests/fixtures/mail/server.py` with the Python of
//! `TEST_AIOSMTPD`, else with an installed one, else skipped.

use std::{
    env,
    ffi::OsString,
    io::{BufRead as _, BufReader},
    path::Path,
    process::{Child, Command, Stdio},
    thread,
};

use serde_json::Value;
use tokio::{
    sync::{
        Mutex,
        mpsc::{self, UnboundedReceiver},
    },
    time::timeout,
};

use super::{PATIENCE, postgres::say_skipped, smtp::Mail};

/// The server; it ends when dropped.
pub struct Aiosmtpd {
    pub port: u16,
    child: Child,
    replies: Mutex<UnboundedReceiver<Reply>>,
}

/// A reply to a command.
#[derive(Debug)]
pub struct Reply {
    /// `RCPT` or `DATA`.
    pub command: String,
    pub to: String,
    pub text: String,
    /// The message, in the reply to DATA.
    pub mail: Option<Mail>,
}

impl Aiosmtpd {
    /// `None`, with a message, where aiosmtpd is not installed.
    pub fn start() -> Option<Self> {
        let Some(python) = find() else {
            say_skipped(
                "the test with a real mail server",
                "Install python3-aiosmtpd or set TEST_AIOSMTPD to a Python that has it",
            );
            return None;
        };
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/mail/server.py");
        let mut child = Command::new(python)
            .arg(script)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .expect("aiosmtpd starts");
        let mut lines = BufReader::new(child.stdout.take().expect("its output")).lines();
        let port = lines.next().expect("a line").expect("a line");
        let (sender, replies) = mpsc::unbounded_channel();
        thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                let _ = sender.send(Reply::read(&line));
            }
        });
        Some(Self {
            port: port.parse().expect("a port"),
            child,
            replies: Mutex::new(replies),
        })
    }

    /// Waits for its next reply.
    pub async fn next(&self) -> Reply {
        let mut replies = self.replies.lock().await;
        timeout(PATIENCE, replies.recv())
            .await
            .expect("a reply in time")
            .expect("a reply")
    }

    /// Whether all replies have been read.
    pub fn is_quiet(&self) -> bool {
        self.replies.try_lock().expect("no other reader").is_empty()
    }
}

impl Drop for Aiosmtpd {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Reply {
    fn read(line: &str) -> Self {
        let event: Value = serde_json::from_str(line).expect("JSON");
        let text = |field: &str| event[field].as_str().expect("a text").to_owned();
        Self {
            command: text("command"),
            to: event["to"][0].as_str().expect("a recipient").to_owned(),
            text: text("reply"),
            mail: event["content"]
                .as_str()
                .map(|raw| Mail::parse(raw.as_bytes())),
        }
    }
}

fn find() -> Option<OsString> {
    let has_aiosmtpd = |python: &OsString| {
        let output = Command::new(python)
            .args(["-c", "import aiosmtpd"])
            .output();
        output.is_ok_and(|output| output.status.success())
    };
    if let Some(python) = env::var_os("TEST_AIOSMTPD") {
        assert!(
            has_aiosmtpd(&python),
            "TEST_AIOSMTPD names no Python with aiosmtpd"
        );
        return Some(python);
    }
    Some(OsString::from("python3")).filter(has_aiosmtpd)
}
