//! The log during floods: bounded and counted, with reserved lines for changes.

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
    time::timeout,
};

use crate::harness::{
    Database, EMAIL, PASSWORD, Process,
    process::command,
    raw::{self, frame},
    server::Client,
};

/// The number of repetitions of each refused request.
const MANY: usize = 300;

/// The limits of lines per second on cheap requests: for one network, and for all.
const PER_NETWORK: usize = 20;
const IN_ALL: usize = 100;

/// The limits of faults with one reason, and of lines of a library.
const FAULTS: usize = 20;
const OF_LIBRARY: usize = 50;

const AUTH: &str = "/bienvenue.v1.AuthService";

/// The largest number of lines on a flood at this rate.
fn most_lines(per_second: usize, elapsed: Duration) -> usize {
    // It may begin and end within a second of the server's, and the last count is written a
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
    /// Stops the server and reads its log.
    fn of(process: Process) -> Self {
        process.signal("TERM");
        let (_, log) = process.wait();
        let parse = |line| serde_json::from_str(line).unwrap_or_else(|_| panic!("{line}"));
        Self {
            bytes: log.len(),
            lines: log.lines().map(parse).collect(),
        }
    }

    /// The lines of single requests.
    fn requests(&self) -> impl Iterator<Item = &Value> {
        self.lines
            .iter()
            .filter(|line| line["message"] == "request")
    }

    fn count(&self, is_one: impl Fn(&Value) -> bool) -> usize {
        self.requests().filter(|line| is_one(line)).count()
    }

    /// The counted requests without their own line.
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

/// Sends every kind of cheap request many times; returns the number of requests.
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
            .request_password_reset("unknown@example.com")
            .await
            .unwrap();
        client.revoke_other_sessions(session_id).await.unwrap();
        http(client, "POST", &format!("{AUTH}/Dance"), &grpc, &frame(&[])).await;
        http(
            client,
            "POST",
            "/unknown.Service/Method",
            &grpc,
            &frame(&[]),
        )
        .await;
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

/// Calls cancelled in progress.
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
async fn cheap_requests_have_few_lines_and_changes_one_each() {
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
    assert!(did("RevokeOtherSessions") >= 1, "a session was ended");
    let logged = log.requests().count() - 3 * changes - 4;
    let most = most_lines(PER_NETWORK, elapsed);
    let rate = log.bytes as f64 / elapsed.as_secs_f64();
    eprintln!("{free} requests in {elapsed:?}: {logged} lines, {rate:.0} bytes/s");
    assert!(
        logged <= most,
        "{logged} lines, {most} allowed, in {elapsed:?}"
    );
    let counted = logged + log.unwritten();
    assert!((free..=free + 300).contains(&counted), "{free} {counted}");
}

/// A flooding network does not displace the lines of others, and is named.
#[tokio::test(flavor = "multi_thread")]
async fn each_network_has_its_own_limit() {
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
        let logged = log.count(|line| line["method"] == "GET /flood");
        assert!(
            logged <= most_lines(per_second, elapsed),
            "{logged} in {elapsed:?}"
        );
        assert_eq!(logged + log.unwritten(), clients.len());
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

/// Faults are logged with their cause, in a limited number of lines.
#[tokio::test(flavor = "multi_thread")]
async fn faults_are_logged_and_counted() {
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
    // A flood of faults does not displace other lines.
    http(&client, "GET", "/nothing", &[], b"").await;
    let elapsed = start.elapsed();
    let log = Log::of(process);
    let logged = log.count(|line| line["cause"].is_string());
    assert!(
        (FAULTS..=most_lines(FAULTS, elapsed)).contains(&logged),
        "{logged} in {elapsed:?}"
    );
    assert_eq!(logged + log.unwritten(), MANY);
    assert_eq!(log.count(|line| line["method"] == "GET /nothing"), 1);
}

/// Lines of libraries are limited, too: h2 writes one per PING frame of 17 bytes.
#[tokio::test(flavor = "multi_thread")]
async fn http2_frames_do_not_flood_the_log() {
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
    // By the reply to the last one, all have been read.
    let mut answer = Vec::new();
    while !answer.windows(8).any(|bytes| bytes == b"an answe") {
        assert_ne!(socket.read_buf(&mut answer).await.unwrap(), 0);
    }
    let elapsed = start.elapsed();
    let log = Log::of(process);
    let logged = log
        .lines
        .iter()
        .filter(|line| line.to_string().contains("never sent"))
        .count();
    assert!(logged > 0, "h2 logs PING frames");
    assert!(
        logged <= most_lines(OF_LIBRARY, elapsed),
        "{logged} lines in {elapsed:?}"
    );
    let counts = log.lines.iter().filter_map(|line| line["lines"].as_u64());
    assert_eq!(
        logged + usize::try_from(counts.sum::<u64>()).unwrap(),
        2_000
    );
}

/// While the log is not read, lost lines are counted, and lines of changes are kept.
#[tokio::test(flavor = "multi_thread")]
async fn lost_lines_are_counted_and_changes_are_kept() {
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
            client.check("sess_unknown").await.unwrap_err();
        }
    };
    flood().await;
    for n in 0..20 {
        let email = format!("user{n}@example.com");
        client.register(&email, PASSWORD).await.unwrap();
    }
    flood().await;
    drop(read);
    // The count of lost lines is written after the queued ones.
    process.until_logged("\"lost\":").await;
    client.register(EMAIL, PASSWORD).await.unwrap();
    let log = Log::of(process);
    let registered = log.count(|line| {
        line["method"] == "bienvenue.v1.AuthService/Register" && line["code"] == "OK"
    });
    let lost = log.lines.iter().find_map(|line| line["lost"].as_u64());
    eprintln!("{} lines, {lost:?} lost", log.lines.len());
    assert!(lost.is_some_and(|lost| lost > 0));
    assert_eq!(registered, 21);
}
