//! A mail server that is not ours: aiosmtpd, which `tests/fixtures/mail/server.py` starts
//! with the Python that `TEST_AIOSMTPD` names, else with an installed one, else not.

use std::{
    env,
    ffi::OsString,
    io::{BufRead as _, BufReader},
    path::Path,
    process::{Child, Command, Stdio},
    thread,
    time::Duration,
};

use serde_json::Value;
use tokio::{
    sync::{
        Mutex,
        mpsc::{self, UnboundedReceiver},
    },
    time::timeout,
};

use super::{postgres::say_skipped, smtp::Mail};

/// How long a reply may take.
const PATIENCE: Duration = Duration::from_secs(20);

/// The server; gone when dropped.
pub struct Aiosmtpd {
    pub port: u16,
    child: Child,
    replies: Mutex<UnboundedReceiver<Reply>>,
}

/// What it answered to a command.
#[derive(Debug)]
pub struct Reply {
    /// `RCPT` or `DATA`.
    pub command: String,
    pub to: String,
    pub text: String,
    /// The message, where it is an answer to one.
    pub mail: Option<Mail>,
}

impl Aiosmtpd {
    /// `None` where there is no aiosmtpd, said loudly.
    pub fn start() -> Option<Self> {
        let Some(python) = find() else {
            say_skipped(
                "what a real mail server takes and refuses",
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

    /// Waits for its next answer.
    pub async fn next(&self) -> Reply {
        let mut replies = self.replies.lock().await;
        timeout(PATIENCE, replies.recv())
            .await
            .expect("a reply in time")
            .expect("a reply")
    }

    /// Whether every answer has been looked at.
    pub fn is_quiet(&self) -> bool {
        self.replies.try_lock().expect("nobody waits").is_empty()
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
