//! Refusals at the transport are logged with the name of the setting.

use std::time::Duration;

use bienvenue::proto::v1::RequestPasswordResetRequest;
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};

use crate::harness::{
    EMAIL, Process,
    h2::{self, H2},
    raw::{self, framed},
    server::Client,
};

const WINDOW: u32 = 64 * 1024;

const PATIENCE: Duration = Duration::from_secs(20);

/// The first bytes of a TLS connection, as sent by grpcurl without -plaintext.
const CLIENT_HELLO: &[u8] = b"\x16\x03\x01\x00\x05\x01\x00\x00\x01\x00";

fn start(settings: &[&str]) -> (TempDir, Process) {
    let folder = tempfile::tempdir().unwrap();
    let process = Process::start(folder.path(), settings);
    (folder, process)
}

/// Stops the server and returns the log lines with a text.
fn lines_with(process: Process, text: &str) -> Vec<String> {
    process.signal("TERM");
    let (_, log) = process.wait();
    let lines = log.lines().filter(|line| line.contains(text));
    let lines: Vec<String> = lines.map(str::to_owned).collect();
    assert!(!lines.is_empty(), "nothing of {text:?} in {log}");
    for line in &lines {
        assert!(line.contains("WARN"), "{line}");
    }
    lines
}

/// With the default settings.
#[tokio::test(flavor = "multi_thread")]
async fn a_refused_connection_is_logged() {
    let (_folder, process) = start(&[]);
    let mut open = Vec::new();
    for _ in 0..256 {
        let mut one = H2::open(process.address, WINDOW).await.unwrap();
        assert!(one.is_served().await);
        open.push(one);
    }
    let mut more = TcpStream::connect(process.address).await.unwrap();
    let end = timeout(PATIENCE, more.read_to_end(&mut Vec::new())).await;
    let _ = end.expect("the connection is closed");
    let lines = lines_with(process, "--max-connections-per-peer");
    assert!(lines[0].contains("refused_per_peer=1"), "{lines:?}");
    assert!(lines[0].contains("127.0.0.1"), "{lines:?}");
}

/// The library that refuses them does not log it.
#[tokio::test(flavor = "multi_thread")]
async fn refused_streams_are_logged() {
    let (_folder, process) = start(&["--max-concurrent-streams=4"]);
    let mut connection = H2::open(process.address, WINDOW).await.unwrap();
    for _ in 0..4 + 20 {
        connection.begin_call("Login").await.unwrap();
    }
    let seen = connection.until(|seen| seen.resets == 20).await.unwrap();
    assert_eq!((seen.resets, seen.answers()), (20, 0), "{seen:?}");
    let lines = lines_with(process, "--max-concurrent-streams");
    // One line for the first, and one for all others.
    assert!((1..=2).contains(&lines.len()), "{lines:?}");
    let count: u32 = lines
        .iter()
        .map(|line| number(line, "refused_streams"))
        .sum();
    assert_eq!(count, 20, "{lines:?}");
}

/// After too many refused streams the connection is closed.
#[tokio::test(flavor = "multi_thread")]
async fn a_connection_closed_for_stream_errors_is_logged() {
    let (_folder, process) = start(&[
        "--max-concurrent-streams=1",
        "--max-local-error-reset-streams=5",
    ]);
    let mut connection = H2::open(process.address, WINDOW).await.unwrap();
    for _ in 0..20 {
        // The connection may be closed by then.
        let _ = connection.begin_call("Login").await;
    }
    assert!(connection.until_closed().await.goaway);
    let lines = lines_with(process, "--max-local-error-reset-streams");
    assert!(lines[0].contains("closed_connections=1"), "{lines:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn oversized_heads_are_logged() {
    let (_folder, process) = start(&[]);
    let mut connection = H2::open(process.address, WINDOW).await.unwrap();
    connection.call_with_head("Login", 12 * 1024).await.unwrap();
    let seen = connection
        .until(|seen| seen.answers() + seen.resets > 0)
        .await
        .unwrap();
    assert_eq!(seen.heads, 0, "{seen:?}");
    let large = "x".repeat(9 * 1024);
    let response = raw::http1(process.address, "GET", "/", &[("x-large", &large)], b"").await;
    assert_eq!(response.status, 431);
    let lines = lines_with(process, "--max-header-list-size");
    let count: u32 = lines.iter().map(|line| number(line, "refused_heads")).sum();
    assert_eq!(count, 2, "{lines:?}");
}

/// A caller that does not read its reply is disconnected.
#[tokio::test(flavor = "multi_thread")]
async fn an_unread_reply_is_logged() {
    let (_folder, process) = start(&["--send-timeout=1s", "--max-connection-age-grace=100ms"]);
    let mut connection = H2::open(process.address, 0).await.unwrap();
    let request = RequestPasswordResetRequest {
        email: EMAIL.to_owned(),
    };
    connection
        .call("RequestPasswordReset", &framed(&request))
        .await
        .unwrap();
    let seen = connection.until_closed().await;
    assert!(seen.goaway && seen.body == 0, "{seen:?}");
    let lines = lines_with(process, "--send-timeout");
    assert!(lines[0].contains("unread_replies=1"), "{lines:?}");
}

/// Idle connections, such as the spare ones of browsers, are logged at debug level when they
/// time out.
#[tokio::test(flavor = "multi_thread")]
async fn timed_out_connections_are_logged_at_debug_level() {
    let times = [
        "--first-byte-timeout=200ms",
        "--handshake-timeout=200ms",
        "--idle-timeout=200ms",
    ];
    let cases: [(&[u8], &str); 3] = [
        (b"", "first-byte-timeout"),
        (b"GET / HT", "handshake-timeout"),
        (b"GET / HTTP/1.1\r\nhost: x\r\n\r\n", "idle-timeout"),
    ];
    for level in ["debug", "info"] {
        let setting = format!("--log=bienvenue={level}");
        let (_folder, process) = start(&[&times[..], &[setting.as_str()]].concat());
        for (bytes, _) in cases {
            let mut socket = TcpStream::connect(process.address).await.unwrap();
            socket.write_all(bytes).await.unwrap();
            let end = timeout(PATIENCE, socket.read_to_end(&mut Vec::new())).await;
            let _ = end.expect("the connection is closed");
        }
        process.signal("TERM");
        let (_, log) = process.wait();
        for (_, setting) in cases {
            let is_logged = log.contains(&format!("setting=\"{setting}\""));
            assert_eq!(is_logged, level == "debug", "{setting}: {log}");
        }
    }
}

/// A flood of refusals has few lines.
#[tokio::test(flavor = "multi_thread")]
async fn many_refusals_have_few_lines() {
    let (_folder, process) = start(&["--max-connections-per-peer=1"]);
    let client = Client::connect(process.address).await;
    for _ in 0..300 {
        if let Ok(mut more) = TcpStream::connect(process.address).await {
            let _ = timeout(PATIENCE, more.read_to_end(&mut Vec::new())).await;
        }
    }
    client.check("sess_unknown").await.unwrap_err();
    let lines = lines_with(process, "--max-connections-per-peer");
    assert!(lines.len() <= 4, "{lines:?}");
    let count: u32 = lines
        .iter()
        .map(|line| number(line, "refused_per_peer"))
        .sum();
    assert_eq!(count, 300, "{lines:?}");
}

/// A caller that expects TLS sees its own client's error; the operator, the log.
#[tokio::test(flavor = "multi_thread")]
async fn a_tls_handshake_is_logged() {
    let (_folder, process) = start(&[]);
    for n in 1..=3 {
        let from = [127, 0, 1, n].into();
        let mut socket = h2::connect_from(from, process.address).await.unwrap();
        socket.write_all(CLIENT_HELLO).await.unwrap();
        let end = timeout(PATIENCE, socket.read_to_end(&mut Vec::new())).await;
        let _ = end.expect("the connection is closed");
    }
    let lines = lines_with(process, "does not speak");
    assert!(lines[0].contains("-plaintext"), "{lines:?}");
    let count: u32 = lines.iter().map(|line| number(line, "connections")).sum();
    assert_eq!(count, 3, "{lines:?}");
}

/// The value of a field in a line.
fn number(line: &str, field: &str) -> u32 {
    let value = line.split(&format!(" {field}=")).nth(1);
    let value = value.and_then(|rest| rest.split(' ').next()?.parse().ok());
    value.unwrap_or_else(|| panic!("no {field} in {line}"))
}
