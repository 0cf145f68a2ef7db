//! From a signal to the end.

use std::{
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
use tokio::{io::AsyncWriteExt as _, net::TcpStream, time::sleep};
use tonic::{Code, Status};
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse, health_client::HealthClient};

use crate::harness::{
    Database, EMAIL, Expect as _, NEW_PASSWORD, PASSWORD, Pace, Process,
    database::connect_postgres, on_each_database, process::command, server::Client,
};

/// A hash that takes long enough to be caught in the middle, even optimised.
const SLOW: &str = "--bcrypt-cost=12";

/// One that takes seconds.
const DEAR: &str = "--bcrypt-cost=16";

/// Either is let in, however slow the machine is just then.
const PATIENT: &str = "--request-timeout=10m";

/// A registration that is being hashed.
async fn begin(
    process: &Process,
    email: &'static str,
) -> tokio::task::JoinHandle<Result<(), tonic::Status>> {
    let client = Client::connect(process.address).await;
    let registration =
        tokio::spawn(async move { client.register(email, PASSWORD).await.map(drop) });
    process.is_hashing().await;
    assert!(!registration.is_finished(), "it is not being hashed");
    registration
}

on_each_database! {
    async fn what_is_under_way_finishes_and_nothing_new_begins(database: Database) {
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
            DEAR,
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

/// Those who were let in have their answers, whether their hash had begun or not.
#[tokio::test(flavor = "multi_thread")]
async fn every_login_under_way_has_its_true_answer() {
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

/// Hashes are not waited for beyond the deadline, neither those that have begun
/// nor those that wait.
#[tokio::test(flavor = "multi_thread")]
async fn many_hashes_do_not_outlast_the_deadline() {
    let folder = tempfile::tempdir().unwrap();
    let (process, pace) = one_hash_at_a_time(folder.path(), Duration::from_secs(3), "100ms").await;
    let client = Client::connect(process.address).await;
    let logins = logins(&client, 16).await;
    process.is_hashing().await;
    let start = Instant::now();
    process.signal("TERM");
    let (status, log) = process.wait();
    assert_eq!(status.code(), Some(0), "{log}");
    let took = start.elapsed();
    assert!(took < pace.hash / 2, "{took:?}, a hash {:?}", pace.hash);
    for (_, answer) in logins.await {
        answer.unwrap_err();
    }
}

/// A server with one hashing thread, that is given so long to stop.
async fn one_hash_at_a_time(folder: &Path, hash: Duration, to_stop: &str) -> (Process, Pace) {
    let pace = Pace::at_least(hash).await;
    let settings = [
        "--hash-threads=1",
        "--hash-max-wait=50s",
        "--request-timeout=60s",
        &format!("--shutdown-timeout={to_stop}"),
        &pace.setting(),
    ];
    (Process::start(folder, &settings), pace)
}

/// Logins that have all been let in, every other with a wrong password.
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
    // It comes after them on their connection.
    client.check("sess_nobody").await.unwrap_err();
    logins
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_signal_ends_it_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let process = Process::start(folder.path(), &[DEAR, PATIENT]);
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

/// A process that was started so that it outlives its terminal does.
#[tokio::test(flavor = "multi_thread")]
async fn a_hang_up_that_is_ignored_ends_nothing() {
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
    client.register(EMAIL, PASSWORD).await.expect("it serves");
    process.signal("TERM");
    let (status, log) = process.wait();
    assert_eq!(status.code(), Some(0), "{log}");
}

/// A process that is given some time before it stops, with a watcher of its health.
struct Delayed {
    process: Process,
    _folder: tempfile::TempDir,
    watch: tonic::Streaming<HealthCheckResponse>,
}

impl Delayed {
    /// Starts it and sends a signal.
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
        assert_eq!(delayed.told().await, "SERVING");
        delayed.process.signal(signal);
        assert_eq!(delayed.told().await, "NOT_SERVING");
        delayed
    }

    async fn told(&mut self) -> &'static str {
        let message = self.watch.message().await.unwrap();
        message.unwrap().status().as_str_name()
    }
}

/// Load balancers are told at once, and callers are served meanwhile.
#[tokio::test(flavor = "multi_thread")]
async fn callers_are_served_until_the_delay_has_passed() {
    for (signal, email) in [("TERM", "ada@example.com"), ("HUP", "bob@example.com")] {
        let start = Instant::now();
        let mut delayed = Delayed::begin("1s", signal).await;
        let client = Client::connect(delayed.process.address).await;
        let health = HealthClient::new(client.channel.clone());
        for service in ["", "bienvenue.v1.AuthService"] {
            let service = service.to_owned();
            let told = health.clone().check(HealthCheckRequest { service }).await;
            let told = told.unwrap().into_inner().status();
            assert_eq!(told.as_str_name(), "NOT_SERVING");
        }
        client.register(email, PASSWORD).await.unwrap();
        client.login(email, PASSWORD).await.unwrap();
        // The end of the stream, by the end of the service.
        assert!(delayed.watch.message().await.unwrap().is_none());
        assert!(
            start.elapsed() >= Duration::from_secs(1),
            "{:?}",
            start.elapsed()
        );
        let (status, log) = delayed.process.wait();
        assert_eq!(status.code(), Some(0), "{log}");
        let told = ["about to stop", "stopping", "stopped"].map(|text| log.find(text).expect(text));
        assert!(told.is_sorted(), "{log}");
    }
}

/// An operator ends the wait with another signal.
#[tokio::test(flavor = "multi_thread")]
async fn a_second_signal_ends_the_delay() {
    let mut delayed = Delayed::begin("1h", "TERM").await;
    delayed.process.signal("TERM");
    assert!(delayed.watch.message().await.unwrap().is_none());
    let (status, log) = delayed.process.wait();
    assert_eq!(status.code(), Some(0), "{log}");
    assert!(log.contains("stopped") && !log.contains("cut off"), "{log}");
}

/// Whoever watches the service's health is told, and is not waited for.
#[tokio::test(flavor = "multi_thread")]
async fn a_health_watcher_does_not_hold_it_up() {
    let folder = tempfile::tempdir().unwrap();
    let process = Process::start(folder.path(), &[]);
    let client = Client::connect(process.address).await;
    let mut health = HealthClient::new(client.channel.clone());
    let request = HealthCheckRequest {
        service: "bienvenue.v1.AuthService".into(),
    };
    let mut watch = health.watch(request).await.unwrap().into_inner();
    let told = |message: Option<HealthCheckResponse>| message.unwrap().status().as_str_name();
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
