//! gRPC's own client for Python: that of the interpreter that `TEST_GRPCIO` names, else of
//! Debian's, else none.

use std::{
    env,
    net::SocketAddr,
    path::Path,
    process::{Command, Stdio},
};

use tokio::task;

use super::postgres::say_skipped;

/// What stands before each program: a call of the `AuthService` by its method, and
/// messages of texts, by the numbers of their fields.
const BEFORE: &str = r#"
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

/// Runs a program against a server and returns what it prints; `None` where there is no
/// grpcio, said loudly.
pub async fn run(server: SocketAddr, program: &str) -> Option<String> {
    let Some(python) = find() else {
        say_skipped(
            "what grpcio does",
            "Install python3-grpcio or set TEST_GRPCIO",
        );
        return None;
    };
    let mut command = Command::new(python);
    command
        .arg("-c")
        .arg(format!("{BEFORE}{program}"))
        .arg(server.to_string())
        .stdin(Stdio::null());
    // The server is in this process.
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
