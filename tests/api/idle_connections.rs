//! Idle HTTP/1.1 connections, as proxies and browsers keep them.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::{sleep, timeout},
};

use crate::harness::{
    Database, TestServer, http1::Http1Connection, on_each_database, proxy::Proxy, raw,
};

/// The time limit on a busy machine.
const PATIENCE: Duration = Duration::from_secs(20);

const GET: &[u8] = b"GET / HTTP/1.1\r\nhost: x\r\n\r\n";

/// Requests with different kinds of framing, and their status.
const REQUESTS: [(&[u8], u16); 3] = [
    (GET, 200),
    (
        b"POST /users HTTP/1.1\r\nhost: x\r\ncontent-length: 3\r\n\
          content-type: application/x-www-form-urlencoded\r\n\r\na=b",
        400,
    ),
    (
        b"POST /users HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\
          content-type: application/x-www-form-urlencoded\r\n\r\n3\r\na=b\r\n0\r\n\r\n",
        400,
    ),
];

/// Sends some bytes and waits until the server closes the connection; returns how long it
/// took.
async fn time_to_close(socket: &mut TcpStream, bytes: &[u8]) -> Duration {
    let start = Instant::now();
    socket.write_all(bytes).await.unwrap();
    let end = timeout(PATIENCE, socket.read_to_end(&mut Vec::new())).await;
    // A reset is an end, too.
    let _ = end.expect("the server closes the connection");
    start.elapsed()
}

on_each_database! {
    /// The handshake timeout does not apply to idle connections.
    async fn an_idle_connection_outlasts_the_handshake(database: Database) {
        let server = TestServer::start_with(&database, &["--handshake-timeout=200ms"]).await;
        for (request, status) in REQUESTS {
            let mut connection = Http1Connection::open(server.address).await;
            for _ in 0..3 {
                let (response, kept) = connection.exchange(request.to_vec()).await;
                let response = response.expect("a response after an idle time");
                assert_eq!(response.status, status);
                connection = kept.expect("a connection");
                sleep(Duration::from_millis(600)).await;
            }
        }
    }

    /// Idle connections have their own timeout.
    async fn an_idle_connection_ends(database: Database) {
        let server = TestServer::start_with(&database, &["--idle-timeout=300ms"]).await;
        for (request, _) in REQUESTS {
            let mut socket = TcpStream::connect(server.address).await.unwrap();
            let after = time_to_close(&mut socket, request).await;
            let range = Duration::from_millis(250)..Duration::from_secs(8);
            assert!(range.contains(&after), "{after:?}");
        }
    }

    /// A request head on an idle connection has the same timeout as the first.
    async fn half_a_head_on_an_idle_connection_times_out(database: Database) {
        let server = TestServer::start_with(&database, &["--handshake-timeout=200ms"]).await;
        for (request, _) in REQUESTS {
            let connection = Http1Connection::open(server.address).await;
            let (_, connection) = connection.exchange(request.to_vec()).await;
            let connection = connection.expect("a connection");
            sleep(Duration::from_millis(400)).await;
            let start = Instant::now();
            let (response, connection) = connection.exchange(b"GET / HT".to_vec()).await;
            assert!(response.is_none());
            assert!(connection.expect("a connection").ends().await);
            assert!(start.elapsed() < Duration::from_secs(8), "{:?}", start.elapsed());
        }
    }

    /// So does a head sent byte by byte.
    async fn a_trickled_head_times_out(database: Database) {
        let server = TestServer::start_with(&database, &["--handshake-timeout=300ms"]).await;
        let socket = TcpStream::connect(server.address).await.unwrap();
        let (mut reader, mut writer) = socket.into_split();
        writer.write_all(GET).await.unwrap();
        let trickle = tokio::spawn(async move {
            for byte in b"GET / HTTP/1.1\r\nhost: x\r\nx: ".iter().chain([b'y'].iter().cycle()) {
                sleep(Duration::from_millis(50)).await;
                if writer.write_all(&[*byte]).await.is_err() {
                    return;
                }
            }
        });
        let end = timeout(PATIENCE, reader.read_to_end(&mut Vec::new())).await;
        let _ = end.expect("the server closes the connection");
        trickle.abort();
    }
}

/// Posts through nginx succeed when its connections have been idle for the handshake timeout:
/// a server that closed them at that moment would lose requests.
#[tokio::test(flavor = "multi_thread")]
async fn nginx_keeps_its_connections() {
    let database = Database::sqlite();
    let idle = Duration::from_millis(200);
    let server = TestServer::start_with(&database, &["--handshake-timeout=200ms"]).await;
    let Some(nginx) = Proxy::nginx_below("/", server.address).await else {
        return;
    };
    let headers = [("content-type", "application/x-www-form-urlencoded")];
    let post = || {
        raw::http1(
            nginx.address,
            "POST",
            "/reset_password",
            &headers,
            b"email=x",
        )
    };
    for _ in 0..20 {
        // Some arrive at that moment.
        let posts = (0..64_u64).map(async |n| {
            sleep(idle - Duration::from_millis(8) + Duration::from_micros(n * 200)).await;
            post().await
        });
        for response in join_all(posts).await {
            assert_eq!(response.status, 400, "{response:?}\n{}", nginx.log());
        }
    }
}
