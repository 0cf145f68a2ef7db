//! What one hostile peer may ask of the transport (`--help`, "Transport
//! limits").

use std::{
    fs,
    net::SocketAddr,
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
};

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const LOGIN: &str = "/bienvenue.v1.AuthService/Login";
const EMPTY_SETTINGS: &[u8] = &[0, 0, 0, 4, 0, 0, 0, 0, 0];

/// Sends some bytes, then nothing; returns what came back until the server
/// hung up, and when it did.
async fn hung_up_on(address: SocketAddr, bytes: &[u8]) -> (Vec<u8>, Duration) {
    let start = Instant::now();
    let mut socket = TcpStream::connect(address).await.unwrap();
    socket.write_all(bytes).await.unwrap();
    let mut answer = Vec::new();
    let end = timeout(Duration::from_secs(20), socket.read_to_end(&mut answer));
    // A reset is an end like any other.
    let _ = end.await.expect("the server hangs up");
    (answer, start.elapsed())
}

/// The frames of HTTP/2 in some bytes: type and payload.
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

/// The status of `GET /`, or `None` where the server hung up.
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

/// Without file descriptors, it neither spins nor gives up.
#[tokio::test(flavor = "multi_thread")]
async fn running_out_of_file_descriptors_is_survived() {
    let folder = tempfile::tempdir().unwrap();
    let process = Process::start(folder.path(), &["--first-byte-timeout=1m"]);
    // The pool is open, and with it all that it opens.
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
    assert!(busy < 0.2, "{busy} of a core, doing nothing");
    allow(1_024);
    let served = async { while raw_status(process.address).await != Some(200) {} };
    timeout(Duration::from_secs(5), served)
        .await
        .expect("it serves again");
    process.signal("TERM");
    let (_, log) = process.wait();
    assert!(log.contains("cannot accept connections"), "{log}");
}

/// How much of a core a process takes over a second.
async fn busy_share(process: &Process) -> f64 {
    let (before, start) = (process.cpu_time(), Instant::now());
    sleep(Duration::from_secs(1)).await;
    (process.cpu_time() - before).as_secs_f64() / start.elapsed().as_secs_f64()
}

/// However many callers there are, the service can open what it needs itself.
#[tokio::test(flavor = "multi_thread")]
async fn callers_cannot_take_the_last_file_descriptors() {
    let folder = tempfile::tempdir().unwrap();
    let binary = command(folder.path());
    let mut limited = Command::new("sh");
    limited
        .args(["-c", "ulimit -n 64; exec \"$0\" \"$@\""])
        .arg(binary.get_program())
        .args([
            "--listen=127.0.0.1:0",
            "--database-connections=2",
            "--bcrypt-cost=4",
        ])
        .args(["--first-byte-timeout=1m"])
        .current_dir(folder.path())
        .stdin(std::process::Stdio::null())
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped());
    let process = Process::spawn(limited);
    let mut silent = Vec::new();
    for _ in 0..200 {
        silent.push(TcpStream::connect(process.address).await.unwrap());
    }
    sleep(Duration::from_millis(200)).await;
    let busy = busy_share(&process).await;
    assert!(busy < 0.2, "{busy} of a core, doing nothing");
    drop(silent);
    let served = async { while raw_status(process.address).await != Some(200) {} };
    timeout(Duration::from_secs(5), served)
        .await
        .expect("it serves again");
    let client = Client::connect(process.address).await;
    client.register(EMAIL, PASSWORD).await.unwrap();
}

on_each_database! {
    async fn silence_half_a_preface_and_half_a_request_do_not_last(database: Database) {
        let settings = ["--first-byte-timeout=200ms", "--handshake-timeout=600ms"];
        let server = TestServer::start_with(&database, &settings).await;
        for (bytes, at_least) in [
            (&b""[..], 200),
            (&PREFACE[..10], 600),
            (b"GET / HT", 600),
            (b"GET / HTTP/1.1\r\nhost: x\r\n", 600),
        ] {
            let (_, after) = hung_up_on(server.address, bytes).await;
            let range = Duration::from_millis(at_least - 50)..Duration::from_secs(5);
            assert!(range.contains(&after), "{bytes:?}: {after:?}");
        }
        server.register().await;
    }

    async fn a_body_that_never_comes_is_not_waited_for(database: Database) {
        let settings = ["--request-timeout=200ms", "--hash-max-wait=100ms"];
        let server = TestServer::start_with(&database, &settings).await;
        let head = "POST /bienvenue.v1.AuthService/Login HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\
                    connection: close\r\ncontent-type: application/grpc-web\r\n\r\n";
        let (answer, after) = hung_up_on(server.address, head.as_bytes()).await;
        let answer = String::from_utf8_lossy(&answer);
        assert!(answer.contains("grpc-status: 4"), "{answer}");
        assert!(after < Duration::from_secs(5), "{after:?}");
    }

    async fn a_peer_that_does_not_answer_pings_is_gone(database: Database) {
        let settings = ["--keepalive-interval=200ms", "--keepalive-timeout=2s"];
        let server = TestServer::start_with(&database, &settings).await;
        let (_, after) = hung_up_on(server.address, &[PREFACE, EMPTY_SETTINGS].concat()).await;
        assert!(after < Duration::from_secs(5), "{after:?}");
        // The harness's client, which does answer, is as old.
        server.register().await;
    }

    async fn an_old_connection_is_asked_to_close_and_then_cut(database: Database) {
        let settings = [
            "--max-connection-age=200ms",
            "--max-connection-age-grace=300ms",
        ];
        let server = TestServer::start_with(&database, &settings).await;
        let (answer, after) = hung_up_on(server.address, &[PREFACE, EMPTY_SETTINGS].concat()).await;
        assert!(
            frames(&answer).any(|(kind, _)| kind == 7),
            "GOAWAY: {answer:?}"
        );
        assert!(after >= Duration::from_millis(150), "{after:?}");
        // A client that calls again where its connection went is served.
        let client = Client::connect(server.address).await;
        let served = async { while client.register(EMAIL, PASSWORD).await.is_err() {} };
        timeout(Duration::from_secs(5), served)
            .await
            .expect("it is served");
    }

    async fn the_limits_are_announced_as_set(database: Database) {
        let keepalive = ["--keepalive-interval=200ms", "--keepalive-timeout=200ms"];
        for (settings, streams, header_list) in [
            // As many as are admitted, unless fewer are to be announced.
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
            let (answer, _) = hung_up_on(server.address, &[PREFACE, EMPTY_SETTINGS].concat()).await;
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

    async fn a_head_that_is_too_large_is_refused_and_the_next_one_served(database: Database) {
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

    /// A caller that opens more streams than it was told of is held to that; one that
    /// keeps to it has its calls wait.
    async fn a_connection_has_its_share_of_work(database: Database) {
        let server = TestServer::start_with(&database, &["--max-requests-per-connection=1"]).await;
        server.register().await;
        let session_id = server.login().await.session_id;
        let check = framed(&GetUserBySessionRequest { session_id });
        let mut connection = H2::open(server.address, 64 * 1024).await.unwrap();
        // A request whose body does not end keeps the connection's share.
        connection.begin_to_ask("Login").await.unwrap();
        connection.ask("GetUserBySession", &check).await.unwrap();
        let seen = connection.until(|seen| seen.resets > 0).await.unwrap();
        assert_eq!((seen.resets, seen.answers()), (1, 0), "{seen:?}");
        // Other connections have shares of their own.
        let checks = (0..20).map(|_| server.login());
        join_all(checks).await;
        // And there is room again once the request is gone.
        connection.ask_instead("GetUserBySession", &check).await.unwrap();
        let seen = connection.until(|seen| seen.ends > 0).await.unwrap();
        assert!(seen.ends > 0 && seen.refusals == 0, "{seen:?}");
    }

    async fn a_peer_has_its_share_of_connections(database: Database) {
        // One is the harness's own client.
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
        let (answer, after) = hung_up_on(server.address, b"").await;
        assert!(
            answer.is_empty() && after < Duration::from_secs(2),
            "{after:?}"
        );
        kept.clear();
        let room = async { while raw_status(server.address).await != Some(200) {} };
        timeout(Duration::from_secs(5), room)
            .await
            .expect("room again");
    }

    /// A proxy connects for many.
    async fn a_trusted_proxy_has_all_the_connections_there_are(database: Database) {
        let settings = ["--max-connections-per-peer=1", "--trusted-proxies=127.0.0.1"];
        let server = TestServer::start_with(&database, &settings).await;
        let mut kept = Vec::new();
        for _ in 0..8 {
            let client = Client::connect(server.address).await;
            let unknown = client.check("sess_nobody").await.unwrap_err();
            refused(&unknown, Code::Unauthenticated, "SESSION_INVALID");
            kept.push(client);
        }
    }

    /// The second request on a connection has its time like the first.
    async fn half_a_head_after_a_whole_request_does_not_last(database: Database) {
        let server = TestServer::start_with(&database, &["--handshake-timeout=300ms"]).await;
        let bytes = b"GET / HTTP/1.1\r\nhost: x\r\n\r\nGET / HT";
        let (answer, after) = hung_up_on(server.address, bytes).await;
        assert!(answer.starts_with(b"HTTP/1.1 200"), "{answer:?}");
        assert!(after < Duration::from_secs(5), "{after:?}");
    }

    /// Work on a request is no part of the handshake.
    async fn an_answer_may_take_longer_than_the_handshake(database: Database) {
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
            "it was no test"
        );
    }

    /// A caller's own deadline is kept, and told in the words of the table.
    async fn a_callers_deadline_is_kept(database: Database) {
        let server = TestServer::start_with(&database, &["--bcrypt-cost=12"]).await;
        let request = RegisterRequest {
            email: EMAIL.into(),
            password: PASSWORD.into(),
        };
        let body = framed(&request);
        let path = "/bienvenue.v1.AuthService/Register";
        let web = "application/grpc-web+proto";
        // A tonic client would not wait for the answer.
        for deadline in ["1n", "5m"] {
            let head = format!(
                "POST {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-type: {web}\r\n\
                 content-length: {}\r\ngrpc-timeout: {deadline}\r\n\r\n",
                body.len()
            );
            // All but the last byte.
            let request = [head.as_bytes(), &body[..body.len() - 1]].concat();
            let (answer, _) = hung_up_on(server.address, &request).await;
            let response = raw::parse_http1(&answer);
            assert_eq!(response.header("content-type"), Some(web));
            let status = raw::status(&response.headers);
            refused(&status, Code::DeadlineExceeded, "DEADLINE_EXCEEDED");
        }
        // Where it is known from the start, nothing is begun.
        let headers = [("content-type", web), ("grpc-timeout", "50m")];
        let response = raw::http1(server.address, "POST", path, &headers, &body).await;
        let status = raw::status(&response.headers);
        refused(&status, Code::ResourceExhausted, "OVERLOADED");
    }
}
