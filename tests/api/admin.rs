//! The internal listener: authentication, its service, and the end of slow streams.

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

/// More events than the buffers of a stream without a reader hold.
const MANY: usize = 20_000;

/// How long the next message waits for a stream without a reader.
const WRITE_TIMEOUT: Duration = Duration::from_secs(5);

#[tokio::test(flavor = "multi_thread")]
async fn the_internal_listener_is_off_by_default() {
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
async fn only_the_admin_token_is_accepted() {
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
        // Without the token, the rest of the request is not validated.
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
        internal.check("sess_unknown").await.map(drop),
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

/// Runs the binary with settings that prevent its start.
fn fails_with(settings: &[&str]) -> Ended {
    let folder = tempfile::tempdir().unwrap();
    let mut command = command(folder.path());
    command.arg("--listen=127.0.0.1:0").args(settings);
    let ended = run(command);
    assert_eq!(ended.errors.lines().count(), 1, "{}", ended.errors);
    assert_eq!(ended.output, "", "it announced a listener");
    assert!(!ended.errors.contains(ADMIN_TOKEN), "{}", ended.errors);
    ended
}

#[test]
fn a_weak_token_is_refused() {
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
        assert_eq!(ended.code, Some(64), "{ended:?}");
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
    assert_eq!(ended.code, Some(64), "{ended:?}");
    assert!(
        ended.errors.contains("--admin-token-file"),
        "{}",
        ended.errors
    );
}

/// Written by an editor or `echo`, or mounted as a secret readable by a group.
#[tokio::test(flavor = "multi_thread")]
async fn a_trailing_newline_is_not_part_of_the_token() {
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
fn the_admin_settings_require_each_other() {
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

/// A connection with minimal flow-control windows.
async fn narrow(process: &Process) -> Channel {
    Endpoint::from_shared(format!("http://{}", process.admin_address.unwrap()))
        .unwrap()
        .initial_stream_window_size(1_024)
        .initial_connection_window_size(65_535)
        .connect()
        .await
        .unwrap()
}

/// The peak memory of the process, in bytes.
fn peak_memory(process: &Process) -> usize {
    let status = fs::read_to_string(format!("/proc/{}/status", process.id())).unwrap();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kibibytes = peak.unwrap().trim().trim_end_matches(" kB");
    kibibytes.parse::<usize>().unwrap() * 1_024
}

/// A process with a user with many sessions; returns the user's id, too.
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

/// Streams without a reader cost little memory, do not delay other streams, and end with
/// the revision to resume from.
#[tokio::test(flavor = "multi_thread")]
async fn a_stream_without_a_reader_is_ended() {
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
    // By then the write timeout of each of the others has passed.
    let start = Instant::now();
    while start.elapsed() < WRITE_TIMEOUT + Duration::from_secs(1) {
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
        assert!(watcher.last < last, "it received everything");
    }
    // The missed events can be read.
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

/// A stream without a reader does not delay the stop beyond the shutdown timeout.
#[tokio::test(flavor = "multi_thread")]
async fn a_stop_does_not_wait_for_a_stream_without_a_reader() {
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
    // Includes the time that the machine takes to end a process.
    assert!(start.elapsed() < Duration::from_secs(8), "{log}");
    stalled.end().await;
    assert!(stalled.last < last);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_number_of_streams_is_limited() {
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
            // A closed stream makes room for another.
            watchers.pop();
            sleep(Duration::from_millis(5)).await;
        }
    };
    let mut one_more = timeout(Duration::from_secs(20), one_more).await.unwrap();
    assert!(refusals > 0);
    let (_, event) = one_more.next().await.unwrap();
    assert!(matches!(event, Event::Heartbeat(_)));
}
