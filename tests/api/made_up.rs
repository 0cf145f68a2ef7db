//! Session ids, handles and reset tokens that a caller made up: they need no turn to
//! write, and where memory knows every session no query either.

use std::time::Duration;

use bienvenue::domain::ResetToken;
use diesel::connection::SimpleConnection as _;
use tokio::{
    task::JoinSet,
    time::{sleep, timeout},
};
use tonic::Code;

use crate::{
    databases::Locker,
    harness::{
        Database, EMAIL, Expect as _, NEW_PASSWORD, PASSWORD, Process, TestServer,
        database::connect_postgres, on_each_database, refused, requests::Session, server::Client,
    },
    session_index::{BREAK, MEND, unknown, unread},
};

const HANDLE: &str = "00000000-0000-4000-8000-000000000000";

/// How long memory may take to be loaded: a load that failed is tried again after a while.
const PATIENCE: Duration = Duration::from_secs(60);

/// So that memory is relied on however busy the machine is.
const RELY_ON_MEMORY: &str = "--revocation-max-lag=1m";

/// Presents made-up session ids to every method that takes one.
async fn are_refused_everywhere(server: &TestServer, numbers: std::ops::Range<usize>) {
    let client = &server.client;
    for session_id in numbers.map(unknown) {
        let refusals = [
            client.check(&session_id).await.map(drop),
            client.logout(&session_id).await,
            client.list_sessions(&session_id).await.map(drop),
            client.revoke_session(&session_id, HANDLE).await,
            client.revoke_other_sessions(&session_id).await.map(drop),
            client
                .change_password(&session_id, PASSWORD, NEW_PASSWORD)
                .await
                .map(drop),
        ];
        for refusal in refusals {
            refusal.expect_refusal(Code::Unauthenticated, "SESSION_INVALID");
        }
        for (method, path) in [("GET", "/profile"), ("DELETE", "/sessions")] {
            let mut browser = Session::new(server.address);
            let call = browser.call(method, path);
            let response = call.cookies("session_id", &session_id).await;
            assert_eq!(response.status_code, 403, "{method} {path}");
        }
    }
}

/// Breaks the look-up of a session once memory knows every session: an answer to a check
/// comes from memory then. Loading memory reads the same columns, so they are mended where
/// it was not done yet.
async fn break_look_ups(database: &Database, client: &Client) {
    let (unread, read) = unread(database);
    let broken = async {
        loop {
            sleep(Duration::from_millis(100)).await;
            database.batch(&format!("BEGIN; {BREAK}; {unread}; COMMIT"));
            let refusal = client.check(&unknown(0)).await.unwrap_err();
            if refusal.code() == Code::Unauthenticated {
                return;
            }
            database.batch(&format!("BEGIN; {MEND}; {read}; COMMIT"));
        }
    };
    timeout(PATIENCE, broken).await.expect("it is loaded");
}

on_each_database! {
    /// The look-up of a session is broken: an answer came from memory.
    async fn session_ids_are_looked_for_in_memory(database: Database) {
        let server = TestServer::start_with(&database, &[RELY_ON_MEMORY]).await;
        server.register().await;
        break_look_ups(&database, &server.client).await;
        are_refused_everywhere(&server, 0..20).await;
        let (_, read) = unread(&database);
        database.batch(&format!("BEGIN; {MEND}; {read}; COMMIT"));
        server.still_serves().await;
    }

    /// The table of sessions is locked against every writer.
    async fn they_need_no_turn_to_write(database: Database) {
        let server = TestServer::start_with(&database, &[RELY_ON_MEMORY]).await;
        server.register().await;
        let session_id = server.login().await.session_id;
        let mut locker = Locker::lock(&database);
        are_refused_everywhere(&server, 0..5).await;
        server
            .client
            .revoke_session(&session_id, HANDLE)
            .await
            .expect_refusal(Code::InvalidArgument, "INVALID_FIELD");
        let token = ResetToken::generate().unwrap();
        server
            .client
            .reset_password(token.expose(), NEW_PASSWORD)
            .await
            .expect_refusal(Code::Unauthenticated, "RESET_TOKEN_INVALID");
        locker.release();
        server.still_serves().await;
    }

    /// Memory has no room, so that every session is looked up, and those that exist
    /// are ended all the same.
    async fn sessions_that_memory_does_not_know_can_be_ended(database: Database) {
        let server = TestServer::start_with(&database, &["--session-index-size=0"]).await;
        server.register().await;
        let (first, second) = (server.login().await, server.login().await);
        are_refused_everywhere(&server, 0..3).await;
        let handle = second.session.unwrap().handle;
        server.client.revoke_session(&first.session_id, &handle).await.unwrap();
        server.client.has_no_session(&second.session_id).await;
        server.client.logout(&first.session_id).await.unwrap();
        server
            .client
            .logout(&first.session_id)
            .await
            .expect_refusal(Code::Unauthenticated, "SESSION_INVALID");
        let left = database.text("SELECT CAST(count(*) AS TEXT) FROM sessions");
        assert_eq!(left, "0");
    }

    /// A session id that nobody has comes with a login like any other.
    async fn a_login_may_present_one(database: Database) {
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

    /// Others log in beside many who log out with what they made up.
    async fn a_flood_of_logouts_is_in_nobodys_way(database: Database) {
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

/// What one node has opened, another one ends at once.
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
        b.client.has_no_session(&first.session_id).await;
        a.client.loses_session(&first.session_id).await;
        a.client.loses_session(&second.session_id).await;
    }
}

/// Reset tokens are not in memory: whoever presents many leaves a connection to others.
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
    // Nothing else that waits: memory is loaded from that table, too.
    let waiting = || {
        let waiting = r#"SELECT count(*)::text FROM pg_stat_activity
            WHERE datname = current_database() AND wait_event_type = 'Lock'
                AND query LIKE '%"reset_token" = %'"#;
        database.text(waiting).parse::<usize>().unwrap()
    };
    // All that take one of the four connections have it after a while in which no more
    // come.
    let (mut most, mut quiet) = (0, 0);
    while most == 0 || quiet < 20 {
        let now = waiting();
        quiet = if now > most { 0 } else { quiet + 1 };
        most = most.max(now);
        sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(most, 3, "checks and these may take three");
    // It reads nothing of the table that is locked. The last connection may load memory.
    let served = async { while client.request_password_reset(EMAIL).await.is_err() {} };
    timeout(PATIENCE, served).await.expect("a connection");
    locker.batch_execute("ROLLBACK").unwrap();
    resets.join_all().await;
    client.login(EMAIL, PASSWORD).await.unwrap();
}
