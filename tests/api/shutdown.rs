//! Shutdown, from the signal to the exit.

use std::{
    net::SocketAddr,
    path::Path,
    process::Stdio,
    time::{Duration, Instant},
};

use bienvenue::proto::v1::LoginResponse;
use diesel::connection::SimpleConnection as _;
use futures_util::{
    FutureExt as _,
    future::{BoxFuture, join_all},
};
use tokio::{io::AsyncWriteExt as _, net::TcpStream};
use tonic::{Code, Status};
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse, health_client::HealthClient};

use crate::harness::{
    Calibration, Database, EMAIL, Expect as _, NEW_PASSWORD, PASSWORD, Process,
    database::connect_postgres, eventually, on_each_database, process::command, server::Client,
};

/// A hash slow enough to be interrupted, even in an optimised build.
const SLOW: &str = "--bcrypt-cost=12";

/// A hash that takes seconds.
const VERY_SLOW: &str = "--bcrypt-cost=16";

/// A limit that admits either hash on a slow machine.
const PATIENT: &str = "--request-timeout=10m";

/// Begins a registration and waits until it is being hashed.
async fn begin(
    process: &Process,
    email: &'static str,
) -> tokio::task::JoinHandle<Result<(), tonic::Status>> {
    let client = Client::connect(process.address).await;
    let registration =
        tokio::spawn(async move { client.register(email, PASSWORD).await.map(drop) });
    process.until_hashing().await;
    assert!(!registration.is_finished(), "it is not being hashed");
    registration
}

on_each_database! {
    async fn requests_in_progress_finish_and_new_ones_are_refused(database: Database) {
        for (signal, email) in [
            ("TERM", "ada@example.com"),
            ("INT", "bob@example.com"),
            ("HUP", "eve@example.com"),
        ] {
            let folder = tempfile::tempdir().unwrap();
            let process = Process::start(folder.path(), &[SLOW, PATIENT, "--database-url", database.url()]);
            let address = process.address;
            let registration = begin(&process, email).await;
            process.signal(signal);
            // New connections are refused once the signal is handled.
            until_not_listening(address).await;
            registration.await.unwrap().expect("it finishes");
            let (status, log) = process.wait();
            assert_eq!(status.code(), Some(0), "{log}");
            assert!(log.contains("stopping") && log.contains("stopped"), "{log}");

            // And it was registered.
            let cheap = ["--bcrypt-cost=4", "--database-url", database.url()];
            let process = Process::start(folder.path(), &cheap);
            let client = Client::connect(process.address).await;
            client.login(email, PASSWORD).await.unwrap();
        }
    }

    async fn the_shutdown_timeout_holds(database: Database) {
        let folder = tempfile::tempdir().unwrap();
        let settings = [
            VERY_SLOW,
            PATIENT,
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

/// Admitted logins get their replies, whether their hash had begun or not.
#[tokio::test(flavor = "multi_thread")]
async fn every_admitted_login_gets_its_result() {
    let folder = tempfile::tempdir().unwrap();
    let (process, _) = one_hash_at_a_time(folder.path(), Duration::from_millis(200), "60s").await;
    let client = Client::connect(process.address).await;
    client.register(EMAIL, PASSWORD).await.unwrap();
    let logins = logins(&client, 16).await;
    process.signal("TERM");
    for (password, answer) in logins.await {
        match password {
            PASSWORD => assert_eq!(answer.unwrap().user.unwrap().email, EMAIL),
            _ => {
                answer.expect_refusal(Code::Unauthenticated, "INVALID_CREDENTIALS");
            }
        }
    }
    let (status, log) = process.wait();
    assert_eq!(status.code(), Some(0), "{log}");
    assert!(!log.contains("cut off"), "{log}");
}

/// Neither begun nor queued hashes delay the exit beyond the timeout.
#[tokio::test(flavor = "multi_thread")]
async fn many_hashes_do_not_exceed_the_shutdown_timeout() {
    let folder = tempfile::tempdir().unwrap();
    let (process, calibration) =
        one_hash_at_a_time(folder.path(), Duration::from_secs(3), "100ms").await;
    let client = Client::connect(process.address).await;
    let logins = logins(&client, 16).await;
    process.until_hashing().await;
    let start = Instant::now();
    process.signal("TERM");
    let (status, log) = process.wait();
    assert_eq!(status.code(), Some(0), "{log}");
    let took = start.elapsed();
    assert!(
        took < calibration.hash / 2,
        "{took:?}, a hash {:?}",
        calibration.hash
    );
    for (_, answer) in logins.await {
        answer.unwrap_err();
    }
}

/// A server with one hashing thread and this shutdown timeout.
async fn one_hash_at_a_time(
    folder: &Path,
    hash: Duration,
    to_stop: &str,
) -> (Process, Calibration) {
    let calibration = Calibration::at_least(hash).await;
    let settings = [
        "--hash-threads=1",
        "--hash-max-wait=50s",
        "--request-timeout=60s",
        &format!("--shutdown-timeout={to_stop}"),
        &calibration.setting(),
    ];
    (Process::start(folder, &settings), calibration)
}

/// Admitted logins, every other with a wrong password.
async fn logins(
    client: &Client,
    many: usize,
) -> BoxFuture<'static, Vec<(&'static str, Result<LoginResponse, Status>)>> {
    let logins = (0..many).map(|n| {
        let (client, password) = (client.clone(), [PASSWORD, NEW_PASSWORD][n % 2]);
        async move { (password, client.login(EMAIL, password).await) }
    });
    let mut logins = join_all(logins).boxed();
    assert!((&mut logins).now_or_never().is_none());
    // Follows them on the same connection.
    client.check("sess_unknown").await.unwrap_err();
    logins
}

async fn until_not_listening(address: SocketAddr) {
    eventually("the server stops listening", async || {
        TcpStream::connect(address).await.is_err()
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_signal_ends_the_process_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let process = Process::start(folder.path(), &[VERY_SLOW, PATIENT]);
    let registration = begin(&process, EMAIL).await;
    process.signal("TERM");
    until_not_listening(process.address).await;
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

/// SIGHUP stays ignored in a process started with nohup.
#[tokio::test(flavor = "multi_thread")]
async fn an_ignored_sighup_stays_ignored() {
    let folder = tempfile::tempdir().unwrap();
    let binary = command(folder.path());
    let mut ignoring = std::process::Command::new("sh");
    ignoring
        .args(["-c", "trap '' HUP; exec \"$0\" --listen=127.0.0.1:0"])
        .arg(binary.get_program())
        .current_dir(folder.path())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let process = Process::spawn(ignoring);
    process.signal("HUP");
    let client = Client::connect(process.address).await;
    client
        .register(EMAIL, PASSWORD)
        .await
        .expect("a registration");
    process.signal("TERM");
    let (status, log) = process.wait();
    assert_eq!(status.code(), Some(0), "{log}");
}

/// A process with a shutdown delay, and a watcher of its health.
struct Delayed {
    process: Process,
    _folder: tempfile::TempDir,
    watch: tonic::Streaming<HealthCheckResponse>,
}

impl Delayed {
    /// Starts the process and sends a signal.
    async fn begin(delay: &str, signal: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let setting = format!("--shutdown-delay={delay}");
        let process = Process::start(folder.path(), &["--bcrypt-cost=4", &setting]);
        let client = Client::connect(process.address).await;
        let request = HealthCheckRequest::default();
        let watch = HealthClient::new(client.channel).watch(request).await;
        let mut delayed = Self {
            process,
            _folder: folder,
            watch: watch.unwrap().into_inner(),
        };
        assert_eq!(delayed.status().await, "SERVING");
        delayed.process.signal(signal);
        assert_eq!(delayed.status().await, "NOT_SERVING");
        delayed
    }

    async fn status(&mut self) -> &'static str {
        let message = self.watch.message().await.unwrap();
        message.unwrap().status().as_str_name()
    }
}

/// The health changes at once, and calls are served during the delay.
#[tokio::test(flavor = "multi_thread")]
async fn callers_are_served_until_the_delay_has_passed() {
    for (signal, email) in [("TERM", "ada@example.com"), ("HUP", "bob@example.com")] {
        let start = Instant::now();
        let mut delayed = Delayed::begin("1s", signal).await;
        let client = Client::connect(delayed.process.address).await;
        let health = HealthClient::new(client.channel.clone());
        for service in ["", "bienvenue.v1.AuthService"] {
            let service = service.to_owned();
            let status = health.clone().check(HealthCheckRequest { service }).await;
            let status = status.unwrap().into_inner().status();
            assert_eq!(status.as_str_name(), "NOT_SERVING");
        }
        client.register(email, PASSWORD).await.unwrap();
        client.login(email, PASSWORD).await.unwrap();
        // The stream ends with the service.
        assert!(delayed.watch.message().await.unwrap().is_none());
        assert!(
            start.elapsed() >= Duration::from_secs(1),
            "{:?}",
            start.elapsed()
        );
        let (status, log) = delayed.process.wait();
        assert_eq!(status.code(), Some(0), "{log}");
        let positions =
            ["about to stop", "stopping", "stopped"].map(|text| log.find(text).expect(text));
        assert!(positions.is_sorted(), "{log}");
    }
}

/// A second signal ends the delay.
#[tokio::test(flavor = "multi_thread")]
async fn a_second_signal_ends_the_delay() {
    let mut delayed = Delayed::begin("1h", "TERM").await;
    delayed.process.signal("TERM");
    assert!(delayed.watch.message().await.unwrap().is_none());
    let (status, log) = delayed.process.wait();
    assert_eq!(status.code(), Some(0), "{log}");
    assert!(log.contains("stopped") && !log.contains("cut off"), "{log}");
}

/// Health watchers get the new status, and do not delay the shutdown.
#[tokio::test(flavor = "multi_thread")]
async fn a_health_watcher_does_not_delay_the_shutdown() {
    let folder = tempfile::tempdir().unwrap();
    let process = Process::start(folder.path(), &[]);
    let client = Client::connect(process.address).await;
    let mut health = HealthClient::new(client.channel.clone());
    let request = HealthCheckRequest {
        service: "bienvenue.v1.AuthService".into(),
    };
    let mut watch = health.watch(request).await.unwrap().into_inner();
    let status_of = |message: Option<HealthCheckResponse>| message.unwrap().status().as_str_name();
    assert_eq!(status_of(watch.message().await.unwrap()), "SERVING");
    let start = Instant::now();
    process.signal("TERM");
    assert_eq!(status_of(watch.message().await.unwrap()), "NOT_SERVING");
    assert!(
        watch.message().await.unwrap().is_none(),
        "the stream has ended"
    );
    let (status, log) = process.wait();
    assert_eq!(status.code(), Some(0));
    assert!(start.elapsed() < Duration::from_secs(5), "{log}");
}

/// A start that waits for another node's migration can be interrupted.
#[tokio::test(flavor = "multi_thread")]
async fn a_signal_during_the_start_ends_the_process() {
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
    // The start waits once a second process queues for the lock.
    let waits = "SELECT count(*)::text FROM pg_locks WHERE locktype = 'advisory' AND NOT granted";
    eventually("the migration waits", async || database.text(waits) != "0").await;
    let killed = std::process::Command::new("kill")
        .arg(child.id().to_string())
        .status();
    assert!(killed.unwrap().success());
    let start = Instant::now();
    assert_eq!(child.wait().unwrap().code(), Some(0));
    assert!(start.elapsed() < Duration::from_secs(5));
}

/// Connections without a complete request do not delay the shutdown.
#[tokio::test(flavor = "multi_thread")]
async fn half_a_request_does_not_delay_the_shutdown() {
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
    // They are accepted once a later connection is served.
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
