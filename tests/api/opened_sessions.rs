//! Sessions opened by other nodes, with any transaction ids.

use std::time::{Duration, Instant};

use diesel::connection::SimpleConnection as _;
use tokio::time::timeout;
use tonic::Code;

use crate::harness::{
    Database, PATIENCE, TestServer, Watcher,
    database::connect_postgres,
    refused,
    watch::{open_sessions, open_sessions_sql, session_ended},
};

/// A `session_id`, and the statement that opens its session for the usual user.
const FOREIGN: &str = "sess_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
const OPEN_FOREIGN: &str = "
    INSERT INTO sessions (digest, handle, user_id, created_at, last_seen_at, user_agent, ip,
                          credential_version)
    SELECT sha256('sess_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA'), gen_random_uuid()::text, id,
           now() AT TIME ZONE 'UTC', now() AT TIME ZONE 'UTC', '', '::1', credential_version
    FROM users";

/// The number of read rows and index entries of sessions.
const READ: &str = "
    SELECT (seq_tup_read + coalesce(idx_tup_fetch, 0) + (
                SELECT sum(idx_tup_read) FROM pg_stat_user_indexes WHERE relname = 'sessions'
           ))::bigint::text
    FROM pg_stat_user_tables WHERE relname = 'sessions'";

/// Waits for heartbeats, each of which follows a query for newly opened sessions.
async fn heartbeats(watcher: &mut Watcher, many: usize) {
    let all = async {
        for _ in 0..many {
            watcher.next().await.unwrap();
        }
    };
    timeout(PATIENCE, all).await.expect("heartbeats");
}

/// Waits until the statistics include the queries so far.
async fn update_statistics(watcher: &mut Watcher) {
    let until = Instant::now() + Duration::from_secs(2);
    while Instant::now() < until {
        heartbeats(watcher, 1).await;
    }
}

/// After a restore into a cluster with fewer transactions, sessions carry ids of future
/// transactions. Following the log does not write to them, which might block.
#[tokio::test(flavor = "multi_thread")]
async fn sessions_of_future_transactions_block_nothing() {
    let Some(database) = Database::postgres().await else {
        return;
    };
    let server = TestServer::start(&database).await;
    let user = server.register().await;
    let restored = server.logins(3).await;
    server.stop().await;
    let open_in = |ahead: usize| {
        database.execute(&format!(
            "UPDATE sessions
             SET opened_in = ((pg_current_xact_id()::text::bigint + {ahead})::text)::xid8"
        ))
    };
    open_in(1_000_000);
    let mut raw = connect_postgres(database.url());
    raw.batch_execute("BEGIN; SELECT 1 FROM sessions FOR UPDATE")
        .unwrap();

    let a = TestServer::start_watched(&database, &[]).await;
    let b = TestServer::start(&database).await;
    let mut watcher = a.watch(None).await.unwrap();
    heartbeats(&mut watcher, 3).await;
    raw.batch_execute("COMMIT").unwrap();
    // Before and after those transaction ids are reached.
    open_in(60);
    for _ in 0..60 {
        let login = b.login().await;
        a.client.check(&login.session_id).await.unwrap();
        b.client.logout(&login.session_id).await.unwrap();
        let handle = login.session.unwrap().handle;
        assert_eq!(watcher.event().await.1, session_ended(&handle, user.id));
        a.client.expect_no_session(&login.session_id).await;
    }
    for login in &restored {
        a.client.check(&login.session_id).await.unwrap();
        b.client.logout(&login.session_id).await.unwrap();
        watcher.event().await;
        a.client.expect_no_session(&login.session_id).await;
    }
}

/// With a long transaction anywhere in the cluster, the queries do not read all sessions
/// opened since; and its own sessions are found after its commit.
#[tokio::test(flavor = "multi_thread")]
async fn an_open_transaction_does_not_slow_the_queries() {
    const MANY: usize = 20_000;
    const QUERIES: usize = 15;
    let Some(database) = Database::postgres().await else {
        return;
    };
    let server = TestServer::start_watched(&database, &[]).await;
    let user = server.register().await;
    let mut watcher = server.watch(None).await.unwrap();
    heartbeats(&mut watcher, 1).await;
    let mut raw = connect_postgres(database.url());
    raw.batch_execute("BEGIN; SELECT pg_current_xact_id()")
        .unwrap();
    open_sessions(&database, user.id, MANY);
    // Opened in the long transaction, and in future ones.
    raw.batch_execute(OPEN_FOREIGN).unwrap();
    open_sessions(&database, user.id, MANY);
    database.batch(
        "UPDATE sessions SET opened_in = '9000000000000000000' WHERE digest IN (
             SELECT digest FROM sessions ORDER BY digest LIMIT 1000)",
    );
    database.batch("VACUUM ANALYZE sessions");
    // PostgreSQL adds a connection's counts to its statistics at most once a second, so
    // each figure is read some seconds after its queries.
    let read = || -> i64 { database.text(READ).parse().unwrap() };
    let mut before = -1;
    for _ in 0..10 {
        update_statistics(&mut watcher).await;
        let now = read();
        if std::mem::replace(&mut before, now) == now && now >= 2 * MANY as i64 {
            break;
        }
    }
    heartbeats(&mut watcher, QUERIES).await;
    update_statistics(&mut watcher).await;
    let during = usize::try_from(read() - before).unwrap();
    println!("{before} before; {QUERIES} queries read {during}");
    assert!(during < QUERIES * 100, "{QUERIES} queries read {during}");

    server.client.expect_no_session(FOREIGN).await;
    raw.batch_execute("COMMIT").unwrap();
    for _ in 0..20 {
        server.client.check(FOREIGN).await.unwrap();
    }
}

/// More sessions than one query reads.
#[tokio::test(flavor = "multi_thread")]
async fn too_many_opened_sessions_reload_the_index() {
    let Some(database) = Database::postgres().await else {
        return;
    };
    let server = TestServer::start_watched(&database, &[]).await;
    let user = server.register().await;
    let known = server.login().await;
    let mut watcher = server.watch(None).await.unwrap();
    heartbeats(&mut watcher, 3).await;
    let mut raw = connect_postgres(database.url());
    let many = open_sessions_sql(user.id, 60_000);
    raw.batch_execute(&format!("BEGIN; {many}; {OPEN_FOREIGN}; COMMIT"))
        .unwrap();
    for _ in 0..20 {
        for session_id in [FOREIGN, &known.session_id] {
            server.client.check(session_id).await.unwrap();
        }
    }
    let end = timeout(PATIENCE, watcher.end()).await.expect("the end");
    refused(&end, Code::Unavailable, "UNAVAILABLE");
    let mut watcher = server.watch(Some(watcher.last)).await.unwrap();
    heartbeats(&mut watcher, 3).await;
    for session_id in [FOREIGN, &known.session_id] {
        server.client.check(session_id).await.unwrap();
    }
}
