//! The internal listener: who gets in, what is there, and who is cut off.

use std::{
    fs,
    time::{Duration, Instant},
};

use bienvenue::{
    proto::v1::{
        WatchRevocationsRequest, admin_service_client::AdminServiceClient,
        watch_revocations_response::Event,
    },
    rpc::{ADMIN_SERVICE, methods},
};
use futures_util::future::join_all;
use tokio::time::{sleep, timeout};
use tonic::{
    Code,
    transport::{Channel, Endpoint},
};
use tonic_types::StatusExt as _;

use crate::harness::{
    Database, EMAIL, Expect as _, PASSWORD, Process, TestServer, Watcher,
    process::{Ended, command, run},
    raw, refused,
    server::Client,
    watch::{ADMIN_TOKEN, TokenFile, authorized, head, log_after, open_sessions},
};

/// More events than what may be on its way to one who does not read.
const MANY: usize = 20_000;

/// How long the next message waits for one who does not read.
const PATIENCE: Duration = Duration::from_secs(5);

#[tokio::test(flavor = "multi_thread")]
async fn it_is_off_unless_it_is_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let database = Database::sqlite();
    let server = TestServer::start(&database).await;
    assert_eq!(server.admin_address, None);
    let process = Process::start_watched(folder.path(), &[]);
    let address = process.admin_address.expect("an address in the greeting");
    assert_ne!(address, process.address);
    process.watch(None).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn it_takes_the_one_token_and_nothing_else() {
    let database = Database::sqlite();
    let server = TestServer::start_watched(&database, &[]).await;
    let channel = Client::connect(server.admin_address.unwrap()).await.channel;
    let bearer = |token: &str| format!("Bearer {token}");
    let (right, cut, longer) = (
        bearer(ADMIN_TOKEN),
        bearer(&ADMIN_TOKEN[1..]),
        bearer(&format!("{ADMIN_TOKEN}0")),
    );
    let other = bearer(&ADMIN_TOKEN.replace('1', "2"));
    let upper = bearer(&ADMIN_TOKEN.to_uppercase());
    let wrongs: [&[&str]; 11] = [
        &[],
        &[""],
        &["Bearer"],
        &["Bearer "],
        &[ADMIN_TOKEN],
        &[&cut],
        &[&longer],
        &[&other],
        &[&upper],
        &[&right.replace("Bearer", "Basic")],
        &[&right, &right],
    ];
    let watch = async |authorization: &[&str], since_revision| {
        let request = WatchRevocationsRequest { since_revision };
        AdminServiceClient::new(channel.clone())
            .watch_revocations(authorized(request, authorization))
            .await
    };
    for wrong in wrongs {
        // Without the token, nobody is told whether the rest made sense.
        for since_revision in [None, Some(0), Some(-1), Some(i64::MAX)] {
            let refusal = watch(wrong, since_revision).await;
            refusal.expect_refusal(Code::Unauthenticated, "ADMIN_TOKEN_INVALID");
        }
    }
    for right in [&right, &format!("bearer {ADMIN_TOKEN}")] {
        watch(&[right], None).await.unwrap();
    }
}

/// Every method that the protos declare, also those added later.
#[tokio::test(flavor = "multi_thread")]
async fn every_method_needs_the_token() {
    let database = Database::sqlite();
    let server = TestServer::start_watched(&database, &[]).await;
    let channel = Client::connect(server.admin_address.unwrap()).await.channel;
    let methods: Vec<_> = methods::of_service(ADMIN_SERVICE).collect();
    assert!(!methods.is_empty());
    let wrong = format!("Bearer {}", ADMIN_TOKEN.replace('1', "2"));
    for path in methods.iter().map(|method| method.path) {
        for authorization in [&[][..], &[("authorization", &*wrong)]] {
            let headers = [&[("content-type", "application/grpc")], authorization].concat();
            let response = raw::h2(&channel, "POST", path, &headers, raw::frame(&[])).await;
            let status = raw::status_of(&response);
            refused(&status, Code::Unauthenticated, "ADMIN_TOKEN_INVALID");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_listener_has_its_own_service() {
    let database = Database::sqlite();
    let server = TestServer::start_watched(&database, &[]).await;
    let public = Watcher::begin(server.address, None).await.map(drop);
    public.expect_refusal(Code::Unimplemented, "UNIMPLEMENTED");
    let internal = Client::connect(server.admin_address.unwrap()).await;
    for refusal in [
        internal.check("sess_nobody").await.map(drop),
        internal.register(EMAIL, PASSWORD).await.map(drop),
    ] {
        refusal.expect_refusal(Code::Unimplemented, "UNIMPLEMENTED");
    }
    for path in ["/", "/users", "/sessions", "/nothing"] {
        let address = server.admin_address.unwrap();
        let response = crate::harness::raw::http1(address, "GET", path, &[], b"").await;
        assert_eq!(response.status, 404, "{path}");
    }
}

/// Runs it with settings that it cannot start with.
fn fails_with(settings: &[&str]) -> Ended {
    let folder = tempfile::tempdir().unwrap();
    let mut command = command(folder.path());
    command.arg("--listen=127.0.0.1:0").args(settings);
    let ended = run(command);
    assert_eq!(ended.errors.lines().count(), 1, "{}", ended.errors);
    assert_eq!(ended.output, "", "it never said that it listens");
    assert!(!ended.errors.contains(ADMIN_TOKEN), "{}", ended.errors);
    ended
}

#[test]
fn a_token_that_is_no_secret_is_not_taken() {
    let long = "x".repeat(1_025);
    for (content, mode, advice) in [
        (ADMIN_TOKEN, 0o644, "run chmod 600"),
        (ADMIN_TOKEN, 0o604, "run chmod 600"),
        ("", 0o600, "openssl rand -hex 32"),
        (&ADMIN_TOKEN[1..], 0o600, "openssl rand -hex 32"),
        (&long, 0o600, "openssl rand -hex 32"),
        ("a token that has spaces in between", 0o600, "openssl rand"),
        (
            "one-line-of-32-characters-exactly\nand-another",
            0o600,
            "openssl rand",
        ),
        (
            "a-token-with-\u{E9}-which-is-not-in-ascii",
            0o600,
            "openssl rand",
        ),
    ] {
        let file = TokenFile::with(content, mode);
        let settings = file.settings();
        let ended = fails_with(&[&settings[0], &settings[1]]);
        assert_eq!(ended.code, Some(1), "{ended:?}");
        assert!(
            ended.errors.contains("--admin-token-file"),
            "{}",
            ended.errors
        );
        assert!(ended.errors.contains(advice), "{}", ended.errors);
    }
    let file = TokenFile::new();
    let settings = file.settings();
    fs::remove_file(file.path()).unwrap();
    let ended = fails_with(&[&settings[0], &settings[1]]);
    assert_eq!(ended.code, Some(1), "{ended:?}");
    assert!(
        ended.errors.contains("--admin-token-file"),
        "{}",
        ended.errors
    );
}

/// As an editor or `echo` leaves it, and as a secret of a group is mounted.
#[tokio::test(flavor = "multi_thread")]
async fn a_token_with_a_newline_is_the_same() {
    for (content, mode) in [
        (format!("{ADMIN_TOKEN}\n"), 0o640),
        (format!("{ADMIN_TOKEN}\r\n"), 0o400),
    ] {
        let (folder, file) = (
            tempfile::tempdir().unwrap(),
            TokenFile::with(&content, mode),
        );
        let settings = file.settings();
        let process = Process::start(folder.path(), &[&settings[0], &settings[1]]);
        process.watch(None).await.unwrap();
    }
}

#[test]
fn its_settings_go_together() {
    let file = TokenFile::new();
    let [listen, token_file] = file.settings();
    for (setting, missing) in [
        (&listen, "--admin-token-file"),
        (&token_file, "--admin-listen"),
    ] {
        let ended = fails_with(&[setting]);
        assert_eq!(ended.code, Some(64), "{ended:?}");
        assert!(ended.errors.contains(missing), "{}", ended.errors);
    }
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let listen = format!("--admin-listen={}", taken.local_addr().unwrap());
    let ended = fails_with(&[&listen, &token_file]);
    assert_eq!(ended.code, Some(1), "{ended:?}");
    assert!(
        ended.errors.contains("another with --admin-listen"),
        "{}",
        ended.errors
    );
}

/// A connection that takes next to nothing before it is read.
async fn narrow(process: &Process) -> Channel {
    Endpoint::from_shared(format!("http://{}", process.admin_address.unwrap()))
        .unwrap()
        .initial_stream_window_size(1_024)
        .initial_connection_window_size(65_535)
        .connect()
        .await
        .unwrap()
}

/// The most memory that it has had, in bytes.
fn peak_memory(process: &Process) -> usize {
    let status = fs::read_to_string(format!("/proc/{}/status", process.id())).unwrap();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kibibytes = peak.unwrap().trim().trim_end_matches(" kB");
    kibibytes.parse::<usize>().unwrap() * 1_024
}

/// A process with a user who has many sessions; the user's id.
async fn with_many_sessions(database: &Database, settings: &[&str]) -> (Process, i64) {
    let folder = tempfile::tempdir().unwrap();
    let all = [
        &["--bcrypt-cost=4", "--database-url", database.url()],
        settings,
    ]
    .concat();
    let process = Process::start_watched(folder.path(), &all);
    let client = Client::connect(process.address).await;
    let user = client.register(EMAIL, PASSWORD).await.unwrap();
    open_sessions(database, user.id, MANY);
    (process, user.id)
}

/// Those who do not read cost no memory to speak of, hold nobody up, and are told
/// where they have to go on.
#[tokio::test(flavor = "multi_thread")]
async fn who_does_not_read_is_cut_off() {
    let database = Database::sqlite();
    let (process, _) = with_many_sessions(&database, &[]).await;
    let mut reader = process.watch(None).await.unwrap();
    let stalled = join_all((0..30).map(|_| async {
        Watcher::begin_on(narrow(&process).await, None)
            .await
            .unwrap()
    }));
    let mut stalled = stalled.await;
    let before = peak_memory(&process);
    database.execute("DELETE FROM sessions");
    let last = head(&database);
    assert_eq!(reader.until(last).await.len(), MANY);
    // By then each of the others has had its time.
    let start = Instant::now();
    while start.elapsed() < PATIENCE + Duration::from_secs(1) {
        reader.next().await.unwrap();
    }
    let grown = peak_memory(&process).saturating_sub(before);
    assert!(grown < 32 * 1024 * 1024, "{grown} bytes");
    for watcher in &mut stalled {
        let status = watcher.end().await;
        assert_eq!(status.code(), Code::ResourceExhausted, "{status:?}");
        assert_eq!(
            status.get_details_error_info().unwrap().reason,
            "SLOW_READER"
        );
        assert!(watcher.last < last, "it was told everything");
    }
    // What they missed is there.
    let mut again = process.watch(Some(stalled[0].last)).await.unwrap();
    let missed = log_after(&database, stalled[0].last).len();
    assert_eq!(again.until(last).await.len(), missed);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_ends_every_stream() {
    let (folder, database) = (tempfile::tempdir().unwrap(), Database::sqlite());
    let process = Process::start_watched(folder.path(), &["--database-url", database.url()]);
    let mut watchers = Vec::new();
    for _ in 0..5 {
        watchers.push(process.watch(None).await.unwrap());
    }
    let start = Instant::now();
    process.signal("TERM");
    for watcher in &mut watchers {
        refused(&watcher.end().await, Code::Unavailable, "UNAVAILABLE");
    }
    let (status, log) = process.wait();
    assert_eq!(status.code(), Some(0));
    assert!(!log.contains("cut off"), "{log}");
    assert!(start.elapsed() < Duration::from_secs(5), "{log}");
}

/// One who does not read does not hold up a stop, either.
#[tokio::test(flavor = "multi_thread")]
async fn a_stop_waits_no_longer_than_it_may() {
    let database = Database::sqlite();
    let (process, _) = with_many_sessions(&database, &["--shutdown-timeout=1s"]).await;
    let mut reader = process.watch(None).await.unwrap();
    let mut stalled = Watcher::begin_on(narrow(&process).await, None)
        .await
        .unwrap();
    database.execute("DELETE FROM sessions");
    let last = head(&database);
    assert_eq!(reader.until(last).await.len(), MANY);
    let start = Instant::now();
    process.signal("TERM");
    refused(&reader.end().await, Code::Unavailable, "UNAVAILABLE");
    let (status, log) = process.wait();
    assert_eq!(status.code(), Some(0));
    assert!(log.contains("cut off"), "{log}");
    // What the machine takes to end a process comes on top.
    assert!(start.elapsed() < Duration::from_secs(8), "{log}");
    stalled.end().await;
    assert!(stalled.last < last);
}

#[tokio::test(flavor = "multi_thread")]
async fn there_is_room_for_so_many_and_then_for_none() {
    let database = Database::sqlite();
    let server = TestServer::start_watched(&database, &[]).await;
    let address = server.admin_address.unwrap();
    let mut watchers = Vec::new();
    while watchers.len() < 1_024 {
        let channel = Client::connect(address).await.channel;
        let some = (0..64).map(|_| Watcher::begin_on(channel.clone(), None));
        watchers.extend(join_all(some).await.into_iter().map(Result::unwrap));
    }
    let mut refusals = 0;
    let one_more = async {
        loop {
            match server.watch(None).await {
                Ok(watcher) => return watcher,
                Err(status) => refused(&status, Code::ResourceExhausted, "OVERLOADED"),
            };
            refusals += 1;
            // One leaves, and there is room before long.
            watchers.pop();
            sleep(Duration::from_millis(5)).await;
        }
    };
    let mut one_more = timeout(Duration::from_secs(20), one_more).await.unwrap();
    assert!(refusals > 0);
    let (_, event) = one_more.next().await.unwrap();
    assert!(matches!(event, Event::Heartbeat(_)));
}
