//! Callers that do not read their replies.

use std::{fs, io, time::Duration};

use bienvenue::proto::v1::{
    BatchGetUserBySessionRequest, GetUserBySessionRequest, ListSessionsRequest,
};
use tokio::{
    io::AsyncWriteExt as _,
    net::{TcpSocket, TcpStream},
    time::timeout,
};

use crate::harness::{
    Database, EMAIL, PASSWORD, Process, TestServer,
    h2::{H2, Seen},
    on_each_database,
    raw::framed,
    server::Client,
};

const MIB: usize = 1024 * 1024;

/// The time limit for the server to end a connection, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);

const LIST: &str = "ListSessions";
const BATCH: &str = "BatchGetUserBySession";
const CHECK: &str = "GetUserBySession";

/// The peak memory of a process, in bytes (`VmHWM` of proc(5)).
fn peak_memory(process: &Process) -> usize {
    let status = fs::read_to_string(format!("/proc/{}/status", process.id())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = line.unwrap().trim().trim_end_matches(" kB");
    kib.parse::<usize>().unwrap() * 1024
}

/// Gives a user the maximal number of sessions, each with the longest user agent.
fn fill_with_sessions(database: &Database) {
    let filled = database.execute(
        "WITH RECURSIVE n(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n WHERE n < 999)
         INSERT INTO sessions
         SELECT randomblob(32), printf('00000000-0000-4000-8000-%012d', n), user_id, created_at,
             last_seen_at, hex(zeroblob(128)), ip, credential_version
         FROM n, (SELECT * FROM sessions LIMIT 1)",
    );
    assert_eq!(filled, 999);
}

fn list(session_id: &str) -> Vec<u8> {
    framed(&ListSessionsRequest {
        session_id: session_id.to_owned(),
        ..Default::default()
    })
}

fn batch(session_id: &str) -> Vec<u8> {
    framed(&BatchGetUserBySessionRequest {
        session_ids: vec![session_id.to_owned(); 256],
    })
}

fn check(session_id: &str) -> Vec<u8> {
    framed(&GetUserBySessionRequest {
        session_id: session_id.to_owned(),
    })
}

/// Twelve connections request the largest replies and read none.
#[tokio::test(flavor = "multi_thread")]
async fn unread_replies_take_little_memory_and_time_out() {
    let database = Database::sqlite();
    let folder = tempfile::tempdir().unwrap();
    let settings = [
        &format!("--database-url={}", database.url()),
        "--bcrypt-cost=4",
        "--send-timeout=4s",
        // Longer than a busy machine needs.
        "--request-timeout=60s",
        "--max-connection-age-grace=500ms",
    ];
    let process = Process::start(folder.path(), &settings);
    let client = Client::connect(process.address).await;
    client.register(EMAIL, PASSWORD).await.unwrap();
    let session_id = client.login(EMAIL, PASSWORD).await.unwrap().session_id;
    fill_with_sessions(&database);
    // The memory of the first calls is not counted.
    client.list_sessions(&session_id).await.unwrap();
    let before = peak_memory(&process);
    let mut connections = Vec::new();
    for _ in 0..12 {
        let mut connection = H2::open(process.address, 0).await.unwrap();
        for _ in 0..4 {
            connection.call(BATCH, &batch(&session_id)).await.unwrap();
        }
        for _ in 0..92 {
            connection.call(LIST, &list(&session_id)).await.unwrap();
        }
        connections.push(tokio::spawn(async move {
            let answered = connection.until(|seen| seen.answers() == 96).await;
            (answered, connection)
        }));
    }
    // Other calls are served.
    client.check(&session_id).await.unwrap();
    client.list_sessions(&session_id).await.unwrap();
    client.login(EMAIL, PASSWORD).await.unwrap();
    let mut answered = Vec::new();
    for connection in connections {
        answered.push(connection.await.unwrap().1);
    }
    let growth = peak_memory(&process) - before;
    println!("{} KiB more than before", growth / 1024);
    assert!(growth < 48 * MIB, "{} MiB more than before", growth / MIB);
    client.check(&session_id).await.unwrap();
    // All of them time out.
    for mut connection in answered {
        connection.until_closed().await;
    }
    client.list_sessions(&session_id).await.unwrap();
}

on_each_database! {
    /// A request counts as in progress until its reply is read.
    async fn an_unread_reply_counts_as_a_request_in_progress(database: Database) {
        let server = TestServer::start_with(&database, &["--max-requests-per-connection=2"]).await;
        server.register().await;
        let session_id = server.login().await.session_id;
        let mut connection = H2::open(server.address, 0).await.unwrap();
        for _ in 0..3 {
            connection.call(CHECK, &check(&session_id)).await.unwrap();
        }
        let is_complete = |seen: &Seen| seen.answers() + seen.resets == 3;
        let seen = connection.until(is_complete).await.unwrap();
        assert_eq!((seen.heads, seen.resets, seen.ends), (2, 1, 0), "{seen:?}");
        // Once they are read, further requests are served.
        connection.set_window(64 * 1024).await.unwrap();
        connection.until(|seen| seen.ends == 2).await.unwrap();
        connection.call(CHECK, &check(&session_id)).await.unwrap();
        let seen = connection.until(|seen| seen.ends == 3).await.unwrap();
        assert_eq!((seen.heads, seen.resets), (3, 1), "{seen:?}");
    }

    /// The replies to a burst of large requests exceed the limit of unsent bytes many times.
    async fn a_burst_of_batches_is_answered_to_a_reader(database: Database) {
        let server = TestServer::start(&database).await;
        server.register().await;
        let session_id = server.login().await.session_id;
        let calls = (0..60).map(|_| {
            let (mut stub, session_id) = (server.client.stub(), session_id.clone());
            tokio::spawn(async move {
                let session_ids = vec![session_id; 256];
                let request = BatchGetUserBySessionRequest { session_ids };
                stub.batch_get_user_by_session(request).await
            })
        });
        for call in calls.collect::<Vec<_>>() {
            let response = call.await.unwrap().unwrap();
            assert_eq!(response.into_inner().results.len(), 256);
        }
    }
}

/// Sends requests over HTTP/1.1 without reading, until sending fails.
async fn send_until_it_fails(mut socket: TcpStream, request: &[u8]) -> io::Error {
    let sending = async {
        loop {
            if let Err(error) = socket.write_all(request).await {
                return error;
            }
        }
    };
    let ended = timeout(PATIENCE, sending).await;
    ended.expect("the server ends the connection")
}

/// HTTP/1.1 has no flow control except the socket's.
#[tokio::test(flavor = "multi_thread")]
async fn an_unread_http1_connection_is_closed() {
    let database = Database::sqlite();
    let settings = ["--send-timeout=300ms", "--max-connection-age-grace=300ms"];
    let server = TestServer::start_with(&database, &settings).await;
    server.register().await;
    let session_id = server.login().await.session_id;
    let body = batch(&session_id);
    let head = format!(
        "POST /bienvenue.v1.AuthService/{BATCH} HTTP/1.1\r\nhost: x\r\n\
         content-type: application/grpc-web+proto\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    for request in [
        [head.as_bytes(), &body].concat(),
        // Replies without a body, so small that many fit into the socket.
        b"HEAD / HTTP/1.1\r\nhost: x\r\n\r\n".repeat(1_000),
    ] {
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(4 * 1024).unwrap();
        let socket = socket.connect(server.address).await.unwrap();
        send_until_it_fails(socket, &request).await;
    }
    server.expect_service().await;
}
