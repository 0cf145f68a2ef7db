//! Session checks from the in-memory index, at every size and with concurrent writers.

use std::{
    fs,
    time::{Duration, Instant},
};

use bienvenue::proto::v1::{
    BatchGetUserBySessionRequest, batch_get_user_by_session_result::Outcome,
};
use futures_util::future::join_all;
use tonic::Code;

use crate::harness::{
    Database, EMAIL, NEW_PASSWORD, PASSWORD, PATIENCE, Process, TestServer, eventually,
    on_each_database,
    process::{command, run},
    server::Client,
};

const MINUTE: Duration = Duration::from_secs(60);

/// Breaks the query for one session, and no other.
pub const BREAK_QUERY: &str = "ALTER TABLE sessions RENAME COLUMN user_agent TO gone";
pub const RESTORE_QUERY: &str = "ALTER TABLE sessions RENAME COLUMN gone TO user_agent";

/// Statements that make the log unreadable and readable on SQLite, where a schema change
/// reloads the index once the log can be read.
pub fn unread(database: &Database) -> (&'static str, &'static str) {
    match database.is_sqlite() {
        true => (
            "ALTER TABLE swept_revocations RENAME TO unread",
            "ALTER TABLE unread RENAME TO swept_revocations",
        ),
        false => ("SELECT 1", "SELECT 1"),
    }
}

/// A well-formed session id without a session.
pub fn unknown(n: usize) -> String {
    format!("sess_{n:042}A")
}

/// Waits until the index is complete, while the query is broken.
async fn until_loaded(client: &Client) {
    eventually("the session cache is loaded", async || {
        let refusal = client.check(&unknown(0)).await.unwrap_err();
        refusal.code() == Code::Unauthenticated
    })
    .await;
}

on_each_database! {
    /// An empty index, one for some sessions, and one for all.
    async fn an_index_of_any_size_works(database: Database) {
        for (round, size) in ["0", "10", "1000"].into_iter().enumerate() {
            let setting = format!("--session-index-size={size}");
            let server = TestServer::start_with(&database, &[&setting]).await;
            let mut session_ids = Vec::new();
            for n in 0..50 {
                let email = format!("u{n}-{round}@example.com");
                let user = server.client.register(&email, PASSWORD).await.unwrap();
                let login = server.client.login(&email, PASSWORD).await.unwrap();
                session_ids.push((login.session_id, user));
            }
            for _ in 0..2 {
                for (session_id, user) in &session_ids {
                    let checked = server.client.check(session_id).await.unwrap();
                    assert_eq!(checked.user.as_ref(), Some(user));
                }
            }
            for (session_id, _) in &session_ids[..25] {
                server.client.logout(session_id).await.unwrap();
                server.client.expect_no_session(session_id).await;
            }
            server.stop().await;
            // Sessions from before the start are known as well.
            let server = TestServer::start_with(&database, &[&setting]).await;
            for (n, (session_id, user)) in session_ids.iter().enumerate() {
                if n < 25 {
                    server.client.expect_no_session(session_id).await;
                } else {
                    let checked = server.client.check(session_id).await.unwrap();
                    assert_eq!(checked.user.as_ref(), Some(user));
                }
            }
            server.stop().await;
        }
    }

    /// Neither unknown session ids nor indexed sessions need a query.
    async fn unknown_sessions_are_refused_from_memory(database: Database) {
        let server = TestServer::start(&database).await;
        server.register().await;
        let before = server.login().await.session_id;
        server.stop().await;
        // A bound that a busy machine does not exceed.
        let server = TestServer::start_with(&database, &["--revocation-max-lag=1m"]).await;
        let after = server.login().await.session_id;
        // The users of sessions from before the start are indexed, too.
        server.client.check(&before).await.unwrap();
        let start = Instant::now();
        let (unread, read) = unread(&database);
        database.batch(&format!("BEGIN; {BREAK_QUERY}; {unread}; COMMIT"));
        until_loaded(&server.client).await;
        let checks = (0..8).map(|caller| {
            let client = server.client.clone();
            tokio::spawn(async move {
                for n in 0..250 {
                    client.expect_no_session(&unknown(caller * 250 + n)).await;
                }
            })
        });
        for check in join_all(checks).await {
            check.unwrap();
        }
        let request = BatchGetUserBySessionRequest {
            session_ids: (0..256).map(unknown).collect(),
        };
        let response = server.client.stub().batch_get_user_by_session(request).await;
        for result in response.unwrap().into_inner().results {
            let outcome = result.outcome.unwrap();
            assert!(matches!(&outcome, Outcome::Error(error) if error.reason == "SESSION_INVALID"), "{outcome:?}");
        }
        for session_id in [&before, &after] {
            server.client.check(session_id).await.unwrap();
        }
        assert!(start.elapsed() < PATIENCE);
        server.stop().await;
        database.batch(read);
        // Without the index, the broken query shows.
        let server = TestServer::start_with(&database, &["--session-index-size=0", "--revocation-max-lag=1m"]).await;
        until_loaded(&server.client).await;
        let status = server.client.check(&before).await.unwrap_err();
        assert!(matches!(status.code(), Code::Unavailable | Code::Internal), "{status:?}");
        database.batch(RESTORE_QUERY);
        server.client.check(&before).await.unwrap();
    }

    /// Uses are written after a moment, in batches.
    async fn uses_are_written_after_the_replies(database: Database) {
        let server = TestServer::start(&database).await;
        server.register().await;
        let logins = server.logins(64).await;
        for is_stopped in [false, true] {
            server.clock.advance(20 * MINUTE);
            let now = server.clock.now().format("%Y-%m-%d %H:%M:%S").to_string();
            let used = format!("SELECT CAST(count(*) AS TEXT) FROM sessions WHERE last_seen_at >= '{now}'");
            assert_eq!(database.text(&used), "0");
            let checks = logins.iter().map(|login| server.client.check(&login.session_id));
            for checked in join_all(checks).await {
                let seen = checked.unwrap().session.unwrap().last_seen_at.unwrap();
                let seen = chrono::DateTime::from_timestamp(seen.seconds, 0).unwrap();
                assert!(seen.format("%Y-%m-%d %H:%M:%S").to_string() >= now);
            }
            if is_stopped {
                // Before the next regular write.
                server.stop().await;
                assert_eq!(database.text(&used), "64");
                return;
            }
            eventually("the times are written", async || database.text(&used) == "64").await;
        }
    }

    /// Failed writes of uses are repeated once the database is available.
    async fn uses_are_written_after_a_database_outage(database: Database) {
        let server = TestServer::start(&database).await;
        server.register().await;
        let logins = server.logins(8).await;
        let now = server.clock.now();
        server.stop().await;
        // A use is written if the last one was a quarter of an hour earlier.
        let text = |at: chrono::DateTime<chrono::Utc>| at.format("%Y-%m-%d %H:%M:%S").to_string();
        let (now, earlier) = (text(now), text(now - 20 * MINUTE));
        let age = format!("UPDATE sessions SET created_at = '{earlier}', last_seen_at = '{earlier}'");
        assert_eq!(database.execute(&age), 8);
        let folder = tempfile::tempdir().unwrap();
        let url = ["--database-url", database.url()];
        let settings = [&["--bcrypt-cost=4", "--revocation-max-lag=1m"], &url[..]].concat();
        let process = Process::start(folder.path(), &settings);
        process.until_logged("the session cache holds every session").await;
        let client = Client::connect(process.address).await;
        // The cache holds the user from here on.
        let login = client.login(EMAIL, PASSWORD).await.unwrap();
        client.check(&login.session_id).await.unwrap();
        client.logout(&login.session_id).await.unwrap();
        let (unread, read) = unread(&database);
        let (away, back) = ("last_seen_at TO gone", "gone TO last_seen_at");
        let rename = |columns| format!("ALTER TABLE sessions RENAME COLUMN {columns}");
        database.batch(&format!("BEGIN; {}; {unread}; COMMIT", rename(away)));
        for login in &logins {
            client.check(&login.session_id).await.unwrap();
        }
        process.until_logged("the last use of some sessions could not be written").await;
        database.batch(&format!("BEGIN; {}; {read}; COMMIT", rename(back)));
        let used = format!("SELECT CAST(count(*) AS TEXT) FROM sessions WHERE last_seen_at >= '{now}'");
        eventually("the times are written", async || database.text(&used) == "8").await;
    }
}

/// A session is accepted on all nodes as soon as it is opened on one.
#[tokio::test(flavor = "multi_thread")]
async fn a_session_is_accepted_on_every_node_at_once() {
    let Some(database) = Database::postgres().await else {
        return;
    };
    let a = TestServer::start(&database).await;
    let small = TestServer::start_with(&database, &["--session-index-size=0"]).await;
    let b = TestServer::start(&database).await;
    let user = a.register().await;
    let callers = (0..4).map(|_| {
        let (a, b, small) = (a.client.clone(), b.client.clone(), small.client.clone());
        let user = user.clone();
        tokio::spawn(async move {
            for _ in 0..50 {
                let session_id = a.login(EMAIL, PASSWORD).await.unwrap().session_id;
                for other in [&b, &small] {
                    let checked = other.check(&session_id).await.unwrap();
                    assert_eq!(checked.user.as_ref(), Some(&user));
                }
                let session_id = b.login(EMAIL, PASSWORD).await.unwrap().session_id;
                let request = BatchGetUserBySessionRequest {
                    session_ids: vec![session_id],
                };
                let response = a.stub().batch_get_user_by_session(request).await;
                let outcome = response.unwrap().into_inner().results.remove(0).outcome;
                assert!(matches!(outcome, Some(Outcome::Found(_))), "{outcome:?}");
            }
        })
    });
    for caller in join_all(callers).await {
        caller.unwrap();
    }
    let (mut session_id, mut password) = (a.login().await.session_id, PASSWORD);
    for n in 0..20 {
        let new_password = [NEW_PASSWORD, PASSWORD][n % 2];
        let changed = a
            .client
            .change_password(&session_id, password, new_password);
        (session_id, password) = (changed.await.unwrap().session_id, new_password);
        b.client.check(&session_id).await.unwrap();
    }
}

/// On SQLite, one process would not notice another's changes.
#[test]
fn a_file_is_served_by_one_process() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let first = Process::start(folder.path(), &["--database-url=sqlite:bienvenue.db"]);
    std::os::unix::fs::symlink(path("bienvenue.db"), path("symbolic.db")).unwrap();
    fs::hard_link(path("bienvenue.db"), path("hard.db")).unwrap();
    let absolute = path("bienvenue.db").display().to_string();
    let names = [
        "bienvenue.db",
        "./bienvenue.db",
        &absolute,
        "symbolic.db",
        "hard.db",
    ];
    for name in names {
        let mut command = command(folder.path());
        command.args(["--listen=127.0.0.1:0", "--database-url"]);
        let ended = run({
            command.arg(format!("sqlite:{name}"));
            command
        });
        assert_eq!(ended.code, Some(1), "{name} {ended:?}");
        assert_eq!(ended.errors.lines().count(), 1, "{}", ended.errors);
        assert!(
            ended.errors.contains("another bienvenue uses it"),
            "{}",
            ended.errors
        );
        assert_eq!(ended.output, "", "it announced a listener");
    }
    // The lock ends with the process, even with SIGKILL.
    first.signal("KILL");
    first.wait();
    let second = Process::start(folder.path(), &["--database-url=sqlite:symbolic.db"]);
    second.signal("TERM");
    assert!(second.wait().0.success());
    Process::start(folder.path(), &["--database-url=sqlite:bienvenue.db"]);
}
