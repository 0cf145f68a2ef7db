//! gRPC's own client for Python: that of the interpreter in `TEST_GRPCIO`, else Debian's, else
//! none.

use std::{
    env,
    net::SocketAddr,
    path::Path,
    process::{Command, Stdio},
};

use tokio::task;

use super::postgres::say_skipped;

/// The beginning of each program: functions for a call of the `AuthService` by its method, and
/// for messages of text fields by number.
const PRELUDE: &str = r#"
import grpc, sys

channel = grpc.insecure_channel(sys.argv[1])

def call(method):
    return channel.unary_unary("/bienvenue.v1.AuthService/" + method)

def message(*texts):
    fields = (bytes([number << 3 | 2, len(text)]) + text.encode()
              for number, text in enumerate(texts, 1))
    return b"".join(fields)

def first_text(reply):
    return reply[2:2 + reply[1]].decode()
"#;

/// Runs a program against a server and returns its output; `None`, with a message, without
/// grpcio.
pub async fn run(server: SocketAddr, program: &str) -> Option<String> {
    let Some(python) = find() else {
        say_skipped(
            "the tests with grpcio",
            "Install python3-grpcio or set TEST_GRPCIO",
        );
        return None;
    };
    let mut command = Command::new(python);
    command
        .arg("-c")
        .arg(format!("{PRELUDE}{program}"))
        .arg(server.to_string())
        .stdin(Stdio::null());
    // Keeps the runtime free for the server, which is in this process.
    let output = task::spawn_blocking(move || command.output()).await;
    let output = output.expect("its end").expect("Python runs");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    Some(String::from_utf8(output.stdout).expect("UTF-8"))
}

fn find() -> Option<String> {
    if let Ok(python) = env::var("TEST_GRPCIO") {
        assert!(Path::new(&python).exists(), "TEST_GRPCIO names no file");
        return Some(python);
    }
    let python = "/usr/bin/python3";
    let mut command = Command::new(python);
    command
        .args(["-c", "import grpc"])
        .stdin(Stdio::null())
        .stderr(Stdio::null());
    let found = command.status();
    found
        .is_ok_and(|status| status.success())
        .then(|| python.to_owned())
}
