//! Unknown session ids, handles and reset tokens: they need no write, and no query where the
//! session cache is complete.

use std::time::Duration;

use bienvenue::domain::ResetToken;
use diesel::connection::SimpleConnection as _;
use tokio::{task::JoinSet, time::sleep};
use tonic::Code;

use crate::{
    databases::Locker,
    harness::{
        Database, EMAIL, Expect as _, NEW_PASSWORD, PASSWORD, Process, TestServer,
        database::connect_postgres,
        eventually, eventually_within,
        methods::{UNKNOWN_HANDLE, methods_with},
        on_each_database, refused,
        requests::Session,
        server::Client,
    },
    session_cache::{BREAK_QUERY, RESTORE_QUERY, unknown, unread},
};

/// The time limit for loading the session cache: a failed load is retried after a pause.
const LOADING: Duration = Duration::from_secs(60);

/// A bound that a busy machine does not exceed, so that checks are answered from memory.
const LONG_LAG: &str = "--revocation-max-lag=1m";

/// Presents unknown session ids to every method with a `session_id`.
async fn are_refused_everywhere(server: &TestServer, numbers: std::ops::Range<usize>) {
    let channel = &server.client.channel;
    for session_id in numbers.map(unknown) {
        for method in methods_with("session_id") {
            let status = method
                .call(channel, &method.request_with("session_id", &session_id))
                .await;
            refused(&status, Code::Unauthenticated, "SESSION_INVALID");
        }
        for (method, path) in [("GET", "/profile"), ("DELETE", "/sessions")] {
            let mut browser = Session::new(server.address);
            let call = browser.call(method, path);
            let response = call.cookies("session_id", &session_id).await;
            assert_eq!(response.status_code, 403, "{method} {path}");
        }
    }
}

/// Breaks the query for a session once the session cache is complete, so that replies come
/// from memory. Loading the index reads the same columns, so they are restored until it is
/// loaded.
async fn break_look_ups(database: &Database, client: &Client) {
    let (unread, read) = unread(database);
    eventually_within(LOADING, "the session cache is loaded", async || {
        sleep(Duration::from_millis(100)).await;
        database.batch(&format!("BEGIN; {BREAK_QUERY}; {unread}; COMMIT"));
        let refusal = client.check(&unknown(0)).await.unwrap_err();
        let is_loaded = refusal.code() == Code::Unauthenticated;
        if !is_loaded {
            database.batch(&format!("BEGIN; {RESTORE_QUERY}; {read}; COMMIT"));
        }
        is_loaded
    })
    .await;
}

on_each_database! {
    /// With a broken query for sessions, the replies come from memory.
    async fn unknown_session_ids_are_refused_from_memory(database: Database) {
        let server = TestServer::start_with(&database, &[LONG_LAG]).await;
        server.register().await;
        break_look_ups(&database, &server.client).await;
        are_refused_everywhere(&server, 0..20).await;
        let (_, read) = unread(&database);
        database.batch(&format!("BEGIN; {RESTORE_QUERY}; {read}; COMMIT"));
        server.expect_service().await;
    }

    /// With the table of sessions locked against writers.
    async fn unknown_ids_and_tokens_need_no_write(database: Database) {
        let server = TestServer::start_with(&database, &[LONG_LAG]).await;
        server.register().await;
        let session_id = server.login().await.session_id;
        let mut locker = Locker::lock(&database);
        are_refused_everywhere(&server, 0..5).await;
        server
            .client
            .revoke_session(&session_id, UNKNOWN_HANDLE)
            .await
            .expect_refusal(Code::InvalidArgument, "INVALID_FIELD");
        let token = ResetToken::generate().unwrap();
        server
            .client
            .reset_password(token.expose(), NEW_PASSWORD)
            .await
            .expect_refusal(Code::Unauthenticated, "RESET_TOKEN_INVALID");
        locker.release();
        server.expect_service().await;
    }

    /// With an empty session cache, every session is queried, and can be ended.
    async fn sessions_outside_memory_can_be_ended(database: Database) {
        let server = TestServer::start_with(&database, &["--session-index-size=0"]).await;
        server.register().await;
        let (first, second) = (server.login().await, server.login().await);
        are_refused_everywhere(&server, 0..3).await;
        let handle = second.session.unwrap().handle;
        server.client.revoke_session(&first.session_id, &handle).await.unwrap();
        server.client.expect_no_session(&second.session_id).await;
        server.client.logout(&first.session_id).await.unwrap();
        server
            .client
            .logout(&first.session_id)
            .await
            .expect_refusal(Code::Unauthenticated, "SESSION_INVALID");
        let left = database.text("SELECT CAST(count(*) AS TEXT) FROM sessions");
        assert_eq!(left, "0");
    }

    /// A login that presents an unknown session id succeeds.
    async fn a_login_may_present_an_unknown_session_id(database: Database) {
        let server = TestServer::start(&database).await;
        server.register().await;
        let mut browser = Session::new(server.address);
        let login = browser
            .post("/sessions")
            .data([("email", EMAIL), ("password", PASSWORD)])
            .cookies("session_id", &unknown(0))
            .await;
        assert_eq!(login.status_code, 200);
        assert_eq!(browser.get("/profile").await.status_code, 200);
    }

    /// Logins succeed during a flood of logouts with unknown session ids.
    async fn a_flood_of_logouts_does_not_delay_logins(database: Database) {
        let server = TestServer::start(&database).await;
        server.register().await;
        let mut flood = JoinSet::new();
        for caller in 0..64 {
            let client = match caller % 16 {
                0 => Client::connect(server.address).await,
                _ => server.client.clone(),
            };
            flood.spawn(async move {
                for number in 0.. {
                    let refusal = client.logout(&unknown(caller + 64 * number)).await;
                    refused(&refusal.unwrap_err(), Code::Unauthenticated, "SESSION_INVALID");
                }
            });
        }
        let client = Client::connect(server.address).await;
        for _ in 0..10 {
            let session_id = client.login(EMAIL, PASSWORD).await.unwrap().session_id;
            client.logout(&session_id).await.unwrap();
        }
        assert!(flood.try_join_next().is_none(), "the flood has ended");
    }
}

/// A session opened on one node can be ended at once on another.
#[tokio::test(flavor = "multi_thread")]
async fn a_session_can_be_ended_on_every_node_at_once() {
    let Some(database) = Database::postgres().await else {
        return;
    };
    let a = TestServer::start(&database).await;
    let b = TestServer::start(&database).await;
    a.register().await;
    for _ in 0..20 {
        let (first, second) = (a.login().await, a.login().await);
        let handle = second.session.unwrap().handle;
        b.client
            .revoke_session(&first.session_id, &handle)
            .await
            .unwrap();
        b.client.logout(&first.session_id).await.unwrap();
        b.client.expect_no_session(&first.session_id).await;
        a.client.until_session_ends(&first.session_id).await;
        a.client.until_session_ends(&second.session_id).await;
    }
}

/// Reset tokens need a query: a flood of them leaves a database connection to others.
#[tokio::test(flavor = "multi_thread")]
async fn reset_tokens_do_not_take_every_connection() {
    let Some(database) = Database::postgres().await else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let settings = [
        "--database-connections=4",
        "--bcrypt-cost=4",
        "--database-url",
        database.url(),
    ];
    let server = Process::start(folder.path(), &settings);
    let client = Client::connect(server.address).await;
    client.register(EMAIL, PASSWORD).await.unwrap();
    let mut locker = connect_postgres(database.url());
    locker
        .batch_execute("BEGIN; LOCK TABLE users IN ACCESS EXCLUSIVE MODE")
        .unwrap();
    let mut resets = JoinSet::new();
    for _ in 0..16 {
        let client = client.clone();
        resets.spawn(async move {
            let token = ResetToken::generate().unwrap();
            let _ = client.reset_password(token.expose(), NEW_PASSWORD).await;
        });
    }
    // Only these queries: loading the index waits for that table, too.
    let waiting = || {
        let waiting = r#"SELECT count(*)::text FROM pg_stat_activity
            WHERE datname = current_database() AND wait_event_type = 'Lock'
                AND query LIKE '%"reset_token" = %'"#;
        database.text(waiting).parse::<usize>().unwrap()
    };
    eventually("three of four connections wait", async || waiting() == 3).await;
    // Long enough for another to follow.
    sleep(Duration::from_millis(200)).await;
    assert_eq!(waiting(), 3, "checks and resets may use three");
    // It does not read the locked table. The last connection may be loading the index.
    eventually("a connection", async || {
        client.request_password_reset(EMAIL).await.is_ok()
    })
    .await;
    locker.batch_execute("ROLLBACK").unwrap();
    resets.join_all().await;
    client.login(EMAIL, PASSWORD).await.unwrap();
}
