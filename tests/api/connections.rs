//! The limits on connections.

use std::{
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use bienvenue::proto::v1::{GetUserBySessionRequest, LoginRequest};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};

use crate::harness::{
    Database, EMAIL, PASSWORD, Process, TestServer,
    h2::{self, H2},
    on_each_database,
    raw::framed,
    server::Client,
};

const WINDOW: u32 = 64 * 1024;

const PATIENCE: Duration = Duration::from_secs(20);

/// An address of this machine; each counts as a network of its own.
fn address(n: u8) -> IpAddr {
    [127, 0, 1, n].into()
}

/// The status of `GET /` from an address; `None` where the server closed the connection.
async fn status_from(from: IpAddr, server: SocketAddr) -> Option<u16> {
    let mut socket = h2::connect_from(from, server).await.ok()?;
    status_on(&mut socket).await
}

async fn status_on(socket: &mut TcpStream) -> Option<u16> {
    let request = b"GET / HTTP/1.1\r\nhost: x\r\n\r\n";
    socket.write_all(request).await.ok()?;
    let mut answer = [0; 12];
    let read = timeout(PATIENCE, socket.read_exact(&mut answer)).await;
    read.expect("a reply or the end of the connection").ok()?;
    std::str::from_utf8(&answer[9..]).ok()?.parse().ok()
}

/// Served connections, `each` from every address.
async fn occupy(server: SocketAddr, addresses: u8, each: usize) -> Vec<H2> {
    let mut connections = Vec::new();
    for n in 1..=addresses {
        for _ in 0..each {
            let mut one = H2::open_from(address(n), server, WINDOW).await.unwrap();
            assert!(one.is_served().await, "connection {n} is refused");
            connections.push(one);
        }
    }
    connections
}

on_each_database! {
    /// Forty addresses take all connections.
    async fn a_new_address_is_served_at_the_connection_limit(database: Database) {
        let settings = ["--max-connections=121", "--max-connections-per-peer=3"];
        let server = TestServer::start_with(&database, &settings).await;
        server.register().await;
        let session_id = server.login().await.session_id;
        let occupants = occupy(server.address, 40, 3).await;
        for n in 100..110 {
            assert_eq!(status_from(address(n), server.address).await, Some(200));
        }
        // The oldest connections were closed with GOAWAY.
        let mut occupants = occupants.into_iter();
        let seen = occupants.next().unwrap().until_closed().await;
        assert!(seen.goaway, "{seen:?}");
        // The harness's own connection has served calls, and stays.
        server.client.check(&session_id).await.unwrap();
    }

    /// Of two connections, the one used last stays.
    async fn the_longest_idle_connection_is_closed(database: Database) {
        let server = TestServer::start_with(&database, &["--max-connections=4"]).await;
        server.register().await;
        let session_id = server.login().await.session_id;
        let mut used = h2::connect_from(address(1), server.address).await.unwrap();
        let mut idle = H2::open_from(address(2), server.address, WINDOW).await.unwrap();
        assert!(idle.is_served().await);
        // Far longer than the resolution of the server's clock.
        tokio::time::sleep(Duration::from_millis(400)).await;
        assert_eq!(status_on(&mut used).await, Some(200));
        let mut more = H2::open_from(address(3), server.address, WINDOW).await.unwrap();
        assert!(more.is_served().await);
        assert_eq!(status_from(address(4), server.address).await, Some(200));
        assert!(idle.until_closed().await.goaway);
        server.client.check(&session_id).await.unwrap();
    }

    /// Permits are reserved for known networks, and calls in progress are not ended.
    async fn a_known_network_is_served_when_calls_hold_all_permits(database: Database) {
        let settings = ["--max-connections=16", "--request-timeout=60s"];
        let server = TestServer::start_with(&database, &settings).await;
        server.register().await;
        let mut known = Vec::new();
        for n in [201, 202] {
            let login = login_from(address(n), &server).await;
            known.push((address(n), login));
        }
        let mut busy = Vec::new();
        // Some are refused in the end: a permit is reserved.
        let is_full = async {
            for n in 1.. {
                // A refusal may show at any step.
                let Ok(mut one) = H2::open_from(address(n), server.address, WINDOW).await else {
                    break;
                };
                if one.begin_call("Login").await.is_err() || !one.is_served().await {
                    break;
                }
                // The request has arrived, since a later one is answered.
                one.call("GetUserBySession", &framed(&GetUserBySessionRequest::default())).await.unwrap();
                one.until(|seen| seen.answers() == 1).await.unwrap();
                busy.push(one);
            }
        };
        timeout(PATIENCE, is_full).await.expect("a refused connection");
        assert!((10..16).contains(&busy.len()), "{} are busy", busy.len());
        assert_eq!(status_from(address(100), server.address).await, None);
        for (address, session_id) in known {
            let mut one = H2::open_from(address, server.address, WINDOW).await.unwrap();
            let request = framed(&GetUserBySessionRequest { session_id });
            one.call("GetUserBySession", &request).await.unwrap();
            let seen = one.until(|seen| seen.ends == 1).await.unwrap();
            assert_eq!(seen.ends, 1, "{seen:?}");
        }
        // The busy connections are still open.
        for one in &mut busy {
            one.call("GetUserBySession", &framed(&GetUserBySessionRequest::default())).await.unwrap();
            let seen = one.until(|seen| seen.answers() == 2).await.unwrap();
            assert!(!seen.goaway, "{seen:?}");
        }
    }
}

/// Opens a session from an address.
async fn login_from(from: IpAddr, server: &TestServer) -> String {
    let mut one = H2::open_from(from, server.address, WINDOW).await.unwrap();
    let request = framed(&LoginRequest {
        email: EMAIL.into(),
        password: PASSWORD.into(),
    });
    one.call("Login", &request).await.unwrap();
    one.until(|seen| seen.ends == 1).await.unwrap();
    // The harness's client connects from another network; its session will do.
    server.login().await.session_id
}

/// The log reports refused connections with the setting to raise.
#[tokio::test(flavor = "multi_thread")]
async fn the_log_names_the_exceeded_limit() {
    let folder = tempfile::tempdir().unwrap();
    let settings = ["--max-connections=8", "--max-connections-per-peer=2"];
    let process = Process::start(folder.path(), &settings);
    let client = Client::connect(process.address).await;
    let occupants = occupy(process.address, 7, 1).await;
    let mut second = H2::open_from(address(7), process.address, WINDOW)
        .await
        .unwrap();
    assert!(second.is_served().await);
    // The third connection of one address.
    assert_eq!(status_from(address(7), process.address).await, None);
    for n in 100..110 {
        assert_eq!(status_from(address(n), process.address).await, Some(200));
    }
    drop((client, occupants, second));
    process.signal("TERM");
    let (_, log) = process.wait();
    let lines: Vec<&str> = log
        .lines()
        .filter(|line| line.contains("max-connections"))
        .collect();
    // One line at once, and at most one for all refusals within ten seconds.
    assert!((1..=2).contains(&lines.len()), "{log}");
    assert!(log.contains("refused_per_peer=1"), "{log}");
    assert!(
        lines
            .iter()
            .any(|line| line.contains("--max-connections-per-peer")),
        "{log}"
    );
    assert!(
        lines.iter().any(|line| line.contains("ended_idle=")),
        "{log}"
    );
}
