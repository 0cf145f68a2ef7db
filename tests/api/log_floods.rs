//! The log while somebody makes the server write it: bounded, counted, and with room for
//! what changes something.

use std::{
    sync::mpsc,
    time::{Duration, Instant},
};

use axum::body::Body;
use futures_util::stream;
use serde_json::Value;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::{sleep, timeout},
};

use crate::harness::{
    Database, EMAIL, PASSWORD, Process,
    process::command,
    raw::{self, frame},
    server::Client,
};

/// How often each thing is done that is refused.
const MANY: usize = 300;

/// The most lines a second on what costs its sender nothing: of one network, and of all.
const PER_NETWORK: usize = 20;
const IN_ALL: usize = 100;

/// The same of faults with one reason, and of lines of a library.
const FAULTS: usize = 20;
const OF_LIBRARY: usize = 50;

const AUTH: &str = "/bienvenue.v1.AuthService";

/// How many lines there may be on a flood at so many a second.
fn most_lines(per_second: usize, elapsed: Duration) -> usize {
    // It may begin and end within a second of the server's, and the last count is told a
    // second later.
    let seconds = usize::try_from(elapsed.as_secs()).unwrap() + 3;
    seconds * (per_second + 1)
}

/// A log in JSON.
struct Log {
    lines: Vec<Value>,
    bytes: usize,
}

impl Log {
    /// Stops the server and reads what it has written.
    fn of(process: Process) -> Self {
        process.signal("TERM");
        let (_, log) = process.wait();
        let parse = |line| serde_json::from_str(line).unwrap_or_else(|_| panic!("{line}"));
        Self {
            bytes: log.len(),
            lines: log.lines().map(parse).collect(),
        }
    }

    /// The lines on one request each.
    fn requests(&self) -> impl Iterator<Item = &Value> {
        self.lines
            .iter()
            .filter(|line| line["message"] == "request")
    }

    fn count(&self, is_one: impl Fn(&Value) -> bool) -> usize {
        self.requests().filter(|line| is_one(line)).count()
    }

    /// How many requests are said to have no line of their own.
    fn unwritten(&self) -> usize {
        let counts = self
            .lines
            .iter()
            .filter_map(|line| line["requests"].as_u64());
        usize::try_from(counts.sum::<u64>()).unwrap()
    }
}

async fn http(client: &Client, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) {
    raw::h2(&client.channel, method, path, headers, body.to_vec()).await;
}

/// Everything that costs its sender next to nothing, again and again; returns how many
/// requests that were.
async fn flood(client: &Client, session_id: &str) -> usize {
    let grpc = [("content-type", "application/grpc")];
    let text = [("content-type", "text/plain")];
    let made_up = format!("sess_{}", "A".repeat(43));
    for _ in 0..MANY {
        client.login("x", "y").await.unwrap_err();
        client.logout(&made_up).await.unwrap_err();
        client.register("x", PASSWORD).await.unwrap_err();
        client.check(&made_up).await.unwrap_err();
        client.reset_password("rst_x", PASSWORD).await.unwrap_err();
        client
            .request_password_reset("nobody@example.com")
            .await
            .unwrap();
        client.revoke_other_sessions(session_id).await.unwrap();
        http(client, "POST", &format!("{AUTH}/Dance"), &grpc, &frame(&[])).await;
        http(client, "POST", "/nobody.Service/Method", &grpc, &frame(&[])).await;
        http(
            client,
            "POST",
            &format!("{AUTH}/Login"),
            &grpc,
            &frame(b"\x0A\xFF"),
        )
        .await;
        http(client, "POST", &format!("{AUTH}/Login"), &text, b"").await;
        http(client, "GET", "/nothing", &[], b"").await;
        http(client, "POST", "/users", &text, b"").await;
        http(client, "DELETE", "/sessions", &[], b"").await;
        http(client, "BREW", "/", &[], b"").await;
    }
    15 * MANY
}

/// Calls whose caller leaves half way.
async fn cancel(client: &Client, many: usize) {
    let headers = [("content-type", "application/grpc")];
    for _ in 0..many {
        let endless = Body::from_stream(stream::pending::<Result<Vec<u8>, std::io::Error>>());
        let path = format!("{AUTH}/Login");
        let call = raw::h2_with(&client.channel, "POST", &path, &headers, endless);
        let _ = timeout(Duration::from_millis(2), call).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_costs_nothing_has_few_lines_and_what_changes_something_has_its_own() {
    let folder = tempfile::tempdir().unwrap();
    let process = Process::start(folder.path(), &["--bcrypt-cost=4", "--log-format=json"]);
    let client = Client::connect(process.address).await;
    client.register(EMAIL, PASSWORD).await.unwrap();
    let session_id = client.login(EMAIL, PASSWORD).await.unwrap().session_id;
    let start = Instant::now();
    let (mut free, mut changes) = (0, 0);
    for round in 0..3 {
        free += flood(&client, &session_id).await;
        cancel(&client, 100).await;
        for n in 0..20 {
            let email = format!("user{round}-{n}@example.com");
            client.register(&email, PASSWORD).await.unwrap();
            let session_id = client.login(&email, PASSWORD).await.unwrap().session_id;
            client.logout(&session_id).await.unwrap();
            changes += 1;
        }
    }
    client.login(EMAIL, PASSWORD).await.unwrap();
    client.revoke_other_sessions(&session_id).await.unwrap();
    let elapsed = start.elapsed();
    let log = Log::of(process);
    let did = |method: &str| {
        let method = format!("bienvenue.v1.AuthService/{method}");
        log.count(|line| line["method"] == method && line["code"] == "OK")
    };
    assert_eq!(did("Register"), changes + 1);
    assert_eq!(did("Login"), changes + 2);
    assert_eq!(did("Logout"), changes);
    assert!(did("RevokeOtherSessions") >= 1, "it ended a session");
    let told = log.requests().count() - 3 * changes - 4;
    let most = most_lines(PER_NETWORK, elapsed);
    let rate = log.bytes as f64 / elapsed.as_secs_f64();
    eprintln!("{free} requests in {elapsed:?}: {told} lines, {rate:.0} bytes/s");
    assert!(told <= most, "{told} lines, {most} allowed, in {elapsed:?}");
    let counted = told + log.unwritten();
    assert!((free..=free + 300).contains(&counted), "{free} {counted}");
}

/// Who floods is in nobody's way, and is named.
#[tokio::test(flavor = "multi_thread")]
async fn networks_have_lines_of_their_own() {
    let one: Vec<_> = vec!["192.0.2.1".to_owned(); MANY];
    let one_64 = (0..MANY)
        .map(|n| format!("2001:db8:0:1:{n:x}::{n:x}"))
        .collect();
    let many: Vec<_> = (0..MANY)
        .map(|n| format!("198.51.{}.{}", n / 200, n % 200))
        .collect();
    for (clients, network, per_second) in [
        (one, Some("192.0.2.1"), PER_NETWORK),
        (one_64, Some("2001:db8:0:1::/64"), PER_NETWORK),
        (many, None, IN_ALL),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let settings = ["--log-format=json", "--trusted-proxies=127.0.0.1"];
        let process = Process::start(folder.path(), &settings);
        let connection = Client::connect(process.address).await;
        let start = Instant::now();
        for client in &clients {
            http(
                &connection,
                "GET",
                "/flood",
                &[("x-forwarded-for", client)],
                b"",
            )
            .await;
        }
        if network.is_some() {
            http(
                &connection,
                "GET",
                "/other",
                &[("x-forwarded-for", "203.0.113.9")],
                b"",
            )
            .await;
        }
        let elapsed = start.elapsed();
        let log = Log::of(process);
        let told = log.count(|line| line["method"] == "GET /flood");
        assert!(
            told <= most_lines(per_second, elapsed),
            "{told} in {elapsed:?}"
        );
        assert_eq!(told + log.unwritten(), clients.len());
        let counts: Vec<_> = log
            .lines
            .iter()
            .filter(|line| line["requests"].is_u64())
            .collect();
        assert!(!counts.is_empty());
        assert!(counts.len() <= most_lines(1, elapsed));
        for line in counts {
            assert_eq!(line["network"].as_str(), network, "{line}");
        }
        if network.is_some() {
            assert_eq!(log.count(|line| line["method"] == "GET /other"), 1);
        }
    }
}

/// A fault of our own is told with its cause, and not with as many lines as there are
/// requests.
#[tokio::test(flavor = "multi_thread")]
async fn faults_are_told_and_counted() {
    let database = Database::sqlite();
    let folder = tempfile::tempdir().unwrap();
    let settings = [
        "--bcrypt-cost=4",
        "--log-format=json",
        "--database-url",
        database.url(),
    ];
    let process = Process::start(folder.path(), &settings);
    let client = Client::connect(process.address).await;
    database.execute("ALTER TABLE users RENAME TO gone");
    let start = Instant::now();
    for _ in 0..MANY {
        client.login(EMAIL, PASSWORD).await.unwrap_err();
    }
    // A flood of faults hides no other line.
    http(&client, "GET", "/nothing", &[], b"").await;
    let elapsed = start.elapsed();
    let log = Log::of(process);
    let told = log.count(|line| line["cause"].is_string());
    assert!(
        (FAULTS..=most_lines(FAULTS, elapsed)).contains(&told),
        "{told} in {elapsed:?}"
    );
    assert_eq!(told + log.unwritten(), MANY);
    assert_eq!(log.count(|line| line["method"] == "GET /nothing"), 1);
}

/// Lines of libraries are under a limit too: a PING frame of 17 bytes made h2 write one.
#[tokio::test(flavor = "multi_thread")]
async fn no_frame_of_http2_makes_a_line_each() {
    let folder = tempfile::tempdir().unwrap();
    let process = Process::start(folder.path(), &["--log-format=json"]);
    let mut socket = TcpStream::connect(process.address).await.unwrap();
    let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
    let acknowledgement = b"\0\0\x08\x06\x01\0\0\0\0never me";
    let ping = b"\0\0\x08\x06\0\0\0\0\0an answe";
    let start = Instant::now();
    let acknowledgements = acknowledgement.repeat(2_000);
    socket
        .write_all(&[&preface[..], &acknowledgements, ping].concat())
        .await
        .unwrap();
    // All have been read when the last one is answered.
    let mut answer = Vec::new();
    while !answer.windows(8).any(|bytes| bytes == b"an answe") {
        assert_ne!(socket.read_buf(&mut answer).await.unwrap(), 0);
    }
    let elapsed = start.elapsed();
    let log = Log::of(process);
    let told = log
        .lines
        .iter()
        .filter(|line| line.to_string().contains("never sent"))
        .count();
    assert!(told > 0, "h2 has a line on it");
    assert!(
        told <= most_lines(OF_LIBRARY, elapsed),
        "{told} lines in {elapsed:?}"
    );
    let counts = log.lines.iter().filter_map(|line| line["lines"].as_u64());
    assert_eq!(told + usize::try_from(counts.sum::<u64>()).unwrap(), 2_000);
}

/// Nobody reads the log for a while: what is lost is counted, and what changes something
/// is not lost.
#[tokio::test(flavor = "multi_thread")]
async fn lost_lines_are_said_and_are_none_on_changes() {
    let folder = tempfile::tempdir().unwrap();
    let mut command = command(folder.path());
    command.args([
        "--listen=127.0.0.1:0",
        "--bcrypt-cost=4",
        "--log=trace",
        "--log-format=json",
    ]);
    let (read, may_read) = mpsc::channel();
    let process = Process::spawn_unread(command, may_read);
    let client = Client::connect(process.address).await;
    let flood = async || {
        for _ in 0..1_500 {
            client.check("sess_nobody").await.unwrap_err();
        }
    };
    flood().await;
    for n in 0..20 {
        let email = format!("user{n}@example.com");
        client.register(&email, PASSWORD).await.unwrap();
    }
    flood().await;
    drop(read);
    // What is lost is said as soon as the rest is written.
    sleep(Duration::from_millis(500)).await;
    client.register(EMAIL, PASSWORD).await.unwrap();
    sleep(Duration::from_millis(500)).await;
    let log = Log::of(process);
    let registered = log.count(|line| {
        line["method"] == "bienvenue.v1.AuthService/Register" && line["code"] == "OK"
    });
    let lost = log.lines.iter().find_map(|line| line["lost"].as_u64());
    eprintln!("{} lines, {lost:?} lost", log.lines.len());
    assert!(lost.is_some_and(|lost| lost > 0));
    assert_eq!(registered, 21);
}
