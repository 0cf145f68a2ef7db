//! The limits on a hostile peer (`--help`, "Transport limits").

use std::{
    fs,
    net::SocketAddr,
    path::Path,
    process::Command,
    time::{Duration, Instant},
};

use bienvenue::proto::v1::{GetUserBySessionRequest, RegisterRequest, RegisterResponse};
use futures_util::future::join_all;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::{sleep, timeout},
};
use tonic::Code;

use crate::harness::{
    Database, EMAIL, PASSWORD, Process, TestServer,
    h2::H2,
    on_each_database,
    process::command,
    raw::{self, Web, frame, framed},
    refused,
    server::Client,
    watch::TokenFile,
};

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const LOGIN: &str = "/bienvenue.v1.AuthService/Login";
const EMPTY_SETTINGS: &[u8] = &[0, 0, 0, 4, 0, 0, 0, 0, 0];

/// Sends some bytes and waits for the server to close the connection; returns the received
/// bytes and the elapsed time.
async fn until_closed(address: SocketAddr, bytes: &[u8]) -> (Vec<u8>, Duration) {
    let start = Instant::now();
    let mut socket = TcpStream::connect(address).await.unwrap();
    socket.write_all(bytes).await.unwrap();
    let mut answer = Vec::new();
    let end = timeout(Duration::from_secs(20), socket.read_to_end(&mut answer));
    // A reset is an end, too.
    let _ = end.await.expect("the server closes the connection");
    (answer, start.elapsed())
}

/// The HTTP/2 frames in some bytes: type and payload.
fn frames(mut bytes: &[u8]) -> impl Iterator<Item = (u8, &[u8])> {
    std::iter::from_fn(move || {
        let [a, b, c, kind, _, _, _, _, _, rest @ ..] = bytes else {
            return None;
        };
        let length = u32::from_be_bytes([0, *a, *b, *c]) as usize;
        let (payload, after) = rest.split_at_checked(length)?;
        bytes = after;
        Some((*kind, payload))
    })
}

/// The status of `GET /`, or `None` where the server closed the connection.
async fn raw_status(address: SocketAddr) -> Option<u16> {
    let mut socket = TcpStream::connect(address).await.ok()?;
    let request = b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
    socket.write_all(request).await.ok()?;
    let mut answer = String::new();
    timeout(Duration::from_secs(5), socket.read_to_string(&mut answer))
        .await
        .ok()?
        .ok()?;
    answer.get(9..12)?.parse().ok()
}

/// Without file descriptors, the server neither spins nor stops.
#[tokio::test(flavor = "multi_thread")]
async fn running_out_of_file_descriptors_is_survived() {
    let folder = tempfile::tempdir().unwrap();
    let process = Process::start(folder.path(), &["--first-byte-timeout=1m"]);
    // By then the pool has opened its connections.
    assert_eq!(raw_status(process.address).await, Some(200));
    let allow = |files: usize| {
        let limit = [
            format!("--pid={}", process.id()),
            format!("--nofile={files}:"),
        ];
        assert!(
            Command::new("prlimit")
                .args(limit)
                .status()
                .unwrap()
                .success()
        );
    };
    let open = fs::read_dir(format!("/proc/{}/fd", process.id()))
        .unwrap()
        .count();
    allow(open);
    let mut silent = Vec::new();
    for _ in 0..20 {
        silent.push(TcpStream::connect(process.address).await.unwrap());
    }
    let busy = busy_share(&process).await;
    assert!(busy < 0.2, "{busy} of a core while idle");
    allow(1_024);
    let served = async { while raw_status(process.address).await != Some(200) {} };
    timeout(Duration::from_secs(5), served)
        .await
        .expect("the server serves again");
    process.signal("TERM");
    let (_, log) = process.wait();
    assert!(log.contains("cannot accept connections"), "{log}");
}

/// The share of a core used by a process during a second.
async fn busy_share(process: &Process) -> f64 {
    let (before, start) = (process.cpu_time(), Instant::now());
    sleep(Duration::from_secs(1)).await;
    (process.cpu_time() - before).as_secs_f64() / start.elapsed().as_secs_f64()
}

/// Starts the server with few file descriptors.
fn start_with_few_files(folder: &Path, settings: &[&str]) -> Process {
    let binary = command(folder);
    let mut limited = Command::new("sh");
    limited
        .args(["-c", "ulimit -n 64; exec \"$0\" \"$@\""])
        .arg(binary.get_program())
        .args([
            "--listen=127.0.0.1:0",
            "--database-connections=2",
            "--bcrypt-cost=4",
            "--first-byte-timeout=1m",
        ])
        .args(settings)
        .current_dir(folder)
        .stdin(std::process::Stdio::null())
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped());
    Process::spawn(limited)
}

/// The server reserves file descriptors for itself.
#[tokio::test(flavor = "multi_thread")]
async fn callers_cannot_take_the_last_file_descriptors() {
    let folder = tempfile::tempdir().unwrap();
    let process = start_with_few_files(folder.path(), &[]);
    let mut silent = Vec::new();
    for _ in 0..200 {
        silent.push(TcpStream::connect(process.address).await.unwrap());
    }
    sleep(Duration::from_millis(200)).await;
    let busy = busy_share(&process).await;
    assert!(busy < 0.2, "{busy} of a core while idle");
    drop(silent);
    let served = async { while raw_status(process.address).await != Some(200) {} };
    timeout(Duration::from_secs(5), served)
        .await
        .expect("the server serves again");
    let client = Client::connect(process.address).await;
    client.register(EMAIL, PASSWORD).await.unwrap();
}

/// The connections of the internal listener are limited by the same budget.
#[tokio::test(flavor = "multi_thread")]
async fn internal_callers_cannot_take_the_last_file_descriptors() {
    let folder = tempfile::tempdir().unwrap();
    let token_file = TokenFile::new();
    let [listen, token] = token_file.settings();
    let process = start_with_few_files(folder.path(), &[&listen, &token]);
    let mut silent = Vec::new();
    for _ in 0..200 {
        let address = process.admin_address.unwrap();
        silent.push(TcpStream::connect(address).await.unwrap());
    }
    let client = Client::connect(process.address).await;
    client.register(EMAIL, PASSWORD).await.unwrap();
    process.signal("TERM");
    let (_, log) = process.wait();
    let lowered = "max-connections is lowered to 21 from 10000, and the internal listener to 2 \
                   connections from 1280: the process may open 64 files";
    assert!(log.contains(lowered), "{log}");
    assert!(!log.contains("cannot accept connections"), "{log}");
}

on_each_database! {
    async fn silence_half_a_preface_and_half_a_request_time_out(database: Database) {
        let settings = ["--first-byte-timeout=200ms", "--handshake-timeout=600ms"];
        let server = TestServer::start_with(&database, &settings).await;
        for (bytes, at_least) in [
            (&b""[..], 200),
            (&PREFACE[..10], 600),
            (b"GET / HT", 600),
            (b"GET / HTTP/1.1\r\nhost: x\r\n", 600),
        ] {
            let (_, after) = until_closed(server.address, bytes).await;
            let range = Duration::from_millis(at_least - 50)..Duration::from_secs(5);
            assert!(range.contains(&after), "{bytes:?}: {after:?}");
        }
        server.register().await;
    }

    async fn a_missing_body_times_out(database: Database) {
        let settings = ["--request-timeout=200ms", "--hash-max-wait=100ms"];
        let server = TestServer::start_with(&database, &settings).await;
        let head = "POST /bienvenue.v1.AuthService/Login HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\
                    connection: close\r\ncontent-type: application/grpc-web\r\n\r\n";
        let (answer, after) = until_closed(server.address, head.as_bytes()).await;
        let answer = String::from_utf8_lossy(&answer);
        assert!(answer.contains("grpc-status: 4"), "{answer}");
        assert!(after < Duration::from_secs(5), "{after:?}");
    }

    async fn a_peer_without_ping_replies_is_disconnected(database: Database) {
        let settings = ["--keepalive-interval=200ms", "--keepalive-timeout=2s"];
        let server = TestServer::start_with(&database, &settings).await;
        let (_, after) = until_closed(server.address, &[PREFACE, EMPTY_SETTINGS].concat()).await;
        assert!(after < Duration::from_secs(5), "{after:?}");
        // The harness's client, which answers pings, is as old.
        server.register().await;
    }

    async fn an_old_connection_gets_goaway_and_is_closed(database: Database) {
        let settings = [
            "--max-connection-age=200ms",
            "--max-connection-age-grace=300ms",
        ];
        let server = TestServer::start_with(&database, &settings).await;
        let (answer, after) = until_closed(server.address, &[PREFACE, EMPTY_SETTINGS].concat()).await;
        assert!(
            frames(&answer).any(|(kind, _)| kind == 7),
            "GOAWAY: {answer:?}"
        );
        assert!(after >= Duration::from_millis(150), "{after:?}");
        // A client that reconnects is served.
        let client = Client::connect(server.address).await;
        let served = async { while client.register(EMAIL, PASSWORD).await.is_err() {} };
        timeout(Duration::from_secs(5), served)
            .await
            .expect("a served call");
    }

    async fn the_announced_limits_are_those_set(database: Database) {
        let keepalive = ["--keepalive-interval=200ms", "--keepalive-timeout=200ms"];
        for (settings, streams, header_list) in [
            // The limit of requests per connection, unless a lower one is set.
            (&[][..], 256, 8 * 1024),
            (&["--max-requests-per-connection=9"], 9, 8 * 1024),
            (&["--max-concurrent-streams=1000"], 1_000, 8 * 1024),
            (
                &["--max-concurrent-streams=7", "--max-header-list-size=2KiB"],
                7,
                2 * 1024,
            ),
        ] {
            let settings = [settings, &keepalive].concat();
            let server = TestServer::start_with(&database, &settings).await;
            let (answer, _) = until_closed(server.address, &[PREFACE, EMPTY_SETTINGS].concat()).await;
            let (_, announced) = frames(&answer)
                .find(|(kind, _)| *kind == 4)
                .expect("SETTINGS");
            let setting = |id: u16| {
                announced.chunks(6).find_map(|one| {
                    let (name, value) = one.split_at(2);
                    (name == id.to_be_bytes()).then(|| u32::from_be_bytes(value.try_into().unwrap()))
                })
            };
            // RFC 9113, 6.5.2.
            assert_eq!(setting(3), Some(streams));
            assert_eq!(setting(6), Some(header_list));
        }
    }

    async fn an_oversized_head_is_refused_and_the_next_served(database: Database) {
        let server = TestServer::start(&database).await;
        let large = "x".repeat(9 * 1024);
        let headers = [
            ("content-type", "application/grpc"),
            ("x-large", large.as_str()),
        ];
        let response = raw::h2(&server.client.channel, "POST", LOGIN, &headers, frame(&[])).await;
        assert_eq!(response.status(), 431);
        let response = raw::http1(server.address, "GET", "/", &headers[1..], b"").await;
        assert_eq!(response.status, 431);
        server.register().await;
    }

    /// Streams beyond the announced limit are refused; a client that respects it queues its
    /// calls.
    async fn requests_per_connection_are_limited(database: Database) {
        let server = TestServer::start_with(&database, &["--max-requests-per-connection=1"]).await;
        server.register().await;
        let session_id = server.login().await.session_id;
        let check = framed(&GetUserBySessionRequest { session_id });
        let mut connection = H2::open(server.address, 64 * 1024).await.unwrap();
        // A request without the end of its body stays in progress.
        connection.begin_call("Login").await.unwrap();
        connection.call("GetUserBySession", &check).await.unwrap();
        let seen = connection.until(|seen| seen.resets > 0).await.unwrap();
        assert_eq!((seen.resets, seen.answers()), (1, 0), "{seen:?}");
        // Other connections have their own limit.
        let checks = (0..20).map(|_| server.login());
        join_all(checks).await;
        // After the request's end, others are served.
        connection.cancel_and_call("GetUserBySession", &check).await.unwrap();
        let seen = connection.until(|seen| seen.ends > 0).await.unwrap();
        assert!(seen.ends > 0 && seen.refusals == 0, "{seen:?}");
    }

    async fn connections_per_peer_are_limited(database: Database) {
        // One of the connections is the harness's own.
        let server = TestServer::start_with(&database, &["--max-connections-per-peer=3"]).await;
        let mut kept = Vec::new();
        for _ in 0..2 {
            let mut socket = TcpStream::connect(server.address).await.unwrap();
            socket
                .write_all(&[PREFACE, EMPTY_SETTINGS].concat())
                .await
                .unwrap();
            assert!(socket.read_u8().await.is_ok());
            kept.push(socket);
        }
        let (answer, after) = until_closed(server.address, b"").await;
        assert!(
            answer.is_empty() && after < Duration::from_secs(2),
            "{after:?}"
        );
        kept.clear();
        let room = async { while raw_status(server.address).await != Some(200) {} };
        timeout(Duration::from_secs(5), room)
            .await
            .expect("a served connection");
    }

    /// A proxy's connections serve many clients.
    async fn a_trusted_proxy_is_exempt_from_the_limit_per_peer(database: Database) {
        let settings = ["--max-connections-per-peer=1", "--trusted-proxies=127.0.0.1"];
        let server = TestServer::start_with(&database, &settings).await;
        let mut kept = Vec::new();
        for _ in 0..8 {
            let client = Client::connect(server.address).await;
            let unknown = client.check("sess_unknown").await.unwrap_err();
            refused(&unknown, Code::Unauthenticated, "SESSION_INVALID");
            kept.push(client);
        }
    }

    /// The second request on a connection has the same timeout as the first.
    async fn half_a_head_after_a_whole_request_times_out(database: Database) {
        let server = TestServer::start_with(&database, &["--handshake-timeout=300ms"]).await;
        let bytes = b"GET / HTTP/1.1\r\nhost: x\r\n\r\nGET / HT";
        let (answer, after) = until_closed(server.address, bytes).await;
        assert!(answer.starts_with(b"HTTP/1.1 200"), "{answer:?}");
        assert!(after < Duration::from_secs(5), "{after:?}");
    }

    /// The handshake timeout does not apply to requests in progress.
    async fn a_reply_may_take_longer_than_the_handshake_timeout(database: Database) {
        let settings = ["--handshake-timeout=50ms", "--bcrypt-cost=12"];
        let server = TestServer::start_with(&database, &settings).await;
        let request = RegisterRequest {
            email: EMAIL.into(),
            password: PASSWORD.into(),
        };
        let start = Instant::now();
        let _: RegisterResponse = Web::Binary
            .call(server.address, "Register", &request)
            .await
            .unwrap();
        assert!(
            start.elapsed() > Duration::from_millis(50),
            "too fast: no test"
        );
    }

    /// A caller's own deadline is kept, with the status of the table.
    async fn a_callers_deadline_is_kept(database: Database) {
        let server = TestServer::start_with(&database, &["--bcrypt-cost=12"]).await;
        let request = RegisterRequest {
            email: EMAIL.into(),
            password: PASSWORD.into(),
        };
        let body = framed(&request);
        let path = "/bienvenue.v1.AuthService/Register";
        let web = "application/grpc-web+proto";
        // A tonic client would not wait for the reply.
        for deadline in ["1n", "5m"] {
            let head = format!(
                "POST {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-type: {web}\r\n\
                 content-length: {}\r\ngrpc-timeout: {deadline}\r\n\r\n",
                body.len()
            );
            // All but the last byte.
            let request = [head.as_bytes(), &body[..body.len() - 1]].concat();
            let (answer, _) = until_closed(server.address, &request).await;
            let response = raw::parse_http1(&answer);
            assert_eq!(response.header("content-type"), Some(web));
            let status = raw::status(&response.headers);
            refused(&status, Code::DeadlineExceeded, "DEADLINE_EXCEEDED");
        }
        // A deadline known to be too short is refused at once.
        let headers = [("content-type", web), ("grpc-timeout", "50m")];
        let response = raw::http1(server.address, "POST", path, &headers, &body).await;
        let status = raw::status(&response.headers);
        refused(&status, Code::ResourceExhausted, "OVERLOADED");
    }
}
