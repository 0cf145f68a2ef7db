//! From a signal to the end.

use std::time::{Duration, Instant};

use diesel::connection::SimpleConnection as _;
use tokio::{io::AsyncWriteExt as _, net::TcpStream, time::sleep};

use crate::harness::{
    Database, EMAIL, PASSWORD, Process, database::connect_postgres, on_each_database,
    process::command, server::Client,
};

/// A hash that takes long enough to be caught in the middle, even optimised.
const SLOW: &str = "--bcrypt-cost=12";

/// A registration that is being hashed.
async fn begin(
    process: &Process,
    email: &'static str,
) -> tokio::task::JoinHandle<Result<(), tonic::Status>> {
    let client = Client::connect(process.address).await;
    let registration =
        tokio::spawn(async move { client.register(email, PASSWORD).await.map(drop) });
    process.is_hashing().await;
    registration
}

on_each_database! {
    async fn what_is_under_way_finishes_and_nothing_new_begins(database: Database) {
        for (signal, email) in [("TERM", "ada@example.com"), ("INT", "bob@example.com")] {
            let folder = tempfile::tempdir().unwrap();
            let process = Process::start(folder.path(), &[SLOW, "--database-url", database.url()]);
            let address = process.address;
            let registration = begin(&process, email).await;
            process.signal(signal);
            // Nobody is let in any more, as soon as the signal has been heard.
            while TcpStream::connect(address).await.is_ok() {
                sleep(Duration::from_millis(1)).await;
            }
            registration.await.unwrap().expect("it finishes");
            let (status, log) = process.wait();
            assert_eq!(status.code(), Some(0), "{log}");
            assert!(log.contains("stopping") && log.contains("stopped"), "{log}");

            // And it was no lie.
            let cheap = ["--bcrypt-cost=4", "--database-url", database.url()];
            let process = Process::start(folder.path(), &cheap);
            let client = Client::connect(process.address).await;
            client.login(email, PASSWORD).await.unwrap();
        }
    }

    async fn the_deadline_holds(database: Database) {
        let folder = tempfile::tempdir().unwrap();
        let settings = [
            "--bcrypt-cost=16",
            "--shutdown-timeout=100ms",
            "--database-url",
            database.url(),
        ];
        let process = Process::start(folder.path(), &settings);
        let registration = begin(&process, EMAIL).await;
        let start = Instant::now();
        process.signal("TERM");
        let (status, log) = process.wait();
        assert_eq!(status.code(), Some(0), "{log}");
        assert!(log.contains("cut off"), "{log}");
        assert!(start.elapsed() < Duration::from_secs(2), "{:?}", start.elapsed());
        registration.await.unwrap().unwrap_err();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_signal_ends_it_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let process = Process::start(folder.path(), &["--bcrypt-cost=16"]);
    let registration = begin(&process, EMAIL).await;
    process.signal("TERM");
    while TcpStream::connect(process.address).await.is_ok() {
        sleep(Duration::from_millis(1)).await;
    }
    let start = Instant::now();
    process.signal("TERM");
    let (status, _) = process.wait();
    assert_eq!(status.code(), Some(130));
    assert!(
        start.elapsed() < Duration::from_secs(2),
        "{:?}",
        start.elapsed()
    );
    assert!(registration.await.unwrap().is_err());
}

/// Whoever watches the service's health is told, and is not waited for.
#[tokio::test(flavor = "multi_thread")]
async fn a_health_watcher_does_not_hold_it_up() {
    use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};
    let folder = tempfile::tempdir().unwrap();
    let process = Process::start(folder.path(), &[]);
    let client = Client::connect(process.address).await;
    let mut health = HealthClient::new(client.channel.clone());
    let request = HealthCheckRequest {
        service: "bienvenue.v1.AuthService".into(),
    };
    let mut watch = health.watch(request).await.unwrap().into_inner();
    let told = |message: Option<tonic_health::pb::HealthCheckResponse>| {
        message.unwrap().status().as_str_name()
    };
    assert_eq!(told(watch.message().await.unwrap()), "SERVING");
    let start = Instant::now();
    process.signal("TERM");
    assert_eq!(told(watch.message().await.unwrap()), "NOT_SERVING");
    assert!(watch.message().await.unwrap().is_none(), "and that was all");
    let (status, log) = process.wait();
    assert_eq!(status.code(), Some(0));
    assert!(start.elapsed() < Duration::from_secs(5), "{log}");
}

/// A start that waits for another node's migration can be given up.
#[tokio::test(flavor = "multi_thread")]
async fn a_signal_during_the_start_ends_it() {
    let Some(database) = Database::postgres().await else {
        return;
    };
    let mut other = connect_postgres(database.url());
    other
        .batch_execute("BEGIN; SELECT pg_advisory_xact_lock(hashtext('bienvenue migrations'))")
        .unwrap();
    let folder = tempfile::tempdir().unwrap();
    let mut command = command(folder.path());
    command.args(["--listen=127.0.0.1:0", "--database-url", database.url()]);
    let mut child = command.spawn().unwrap();
    // It waits once the lock has a second one in line.
    let waits = "SELECT count(*)::text FROM pg_locks WHERE locktype = 'advisory' AND NOT granted";
    while database.text(waits) == "0" {
        sleep(Duration::from_millis(5)).await;
    }
    let killed = std::process::Command::new("kill")
        .arg(child.id().to_string())
        .status();
    assert!(killed.unwrap().success());
    let start = Instant::now();
    assert_eq!(child.wait().unwrap().code(), Some(0));
    assert!(start.elapsed() < Duration::from_secs(5));
}

/// Peers that have asked for nothing are not waited for.
#[tokio::test(flavor = "multi_thread")]
async fn half_a_request_does_not_hold_it_up() {
    let folder = tempfile::tempdir().unwrap();
    let process = Process::start(folder.path(), &[]);
    let mut open = Vec::new();
    for bytes in [
        &b""[..],
        b"GET / HT",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0",
    ] {
        let mut socket = TcpStream::connect(process.address).await.unwrap();
        socket.write_all(bytes).await.unwrap();
        open.push(socket);
    }
    // They are served once one that came after them is.
    Client::connect(process.address)
        .await
        .check("")
        .await
        .unwrap_err();
    let start = Instant::now();
    process.signal("TERM");
    let (status, log) = process.wait();
    assert_eq!(status.code(), Some(0));
    assert!(!log.contains("cut off"), "{log}");
    assert!(
        start.elapsed() < Duration::from_secs(4),
        "{:?}",
        start.elapsed()
    );
}
