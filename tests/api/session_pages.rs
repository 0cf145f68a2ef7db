//! Pages of a list of sessions among many expired ones.

use std::time::Duration;

use crate::harness::{Database, TestServer, on_each_database};

const HOUR: Duration = Duration::from_secs(3_600);

/// The number of expired sessions before each open one.
const EXPIRED: usize = 300;

/// Copies of a user's only session, as they were before its last use.
fn add_expired(database: &Database, round: usize) {
    let (first, last) = (round * EXPIRED + 1, (round + 1) * EXPIRED);
    let copy = match database.is_sqlite() {
        true => format!(
            "WITH RECURSIVE n(n) AS (SELECT {first} UNION ALL SELECT n + 1 FROM n WHERE n < {last})
             INSERT INTO sessions SELECT randomblob(32), printf('00000000-0000-4000-8000-%012d', n),
                 user_id, created_at, created_at, user_agent, ip, credential_version
             FROM n, (SELECT * FROM sessions ORDER BY created_at DESC LIMIT 1)"
        ),
        false => format!(
            "INSERT INTO sessions SELECT sha256(n::text::bytea),
                 '00000000-0000-4000-8000-' || lpad(n::text, 12, '0'), user_id, created_at,
                 created_at, user_agent, ip, credential_version
             FROM generate_series({first}, {last}) n,
                 (SELECT * FROM sessions ORDER BY created_at DESC LIMIT 1) one"
        ),
    };
    assert_eq!(database.execute(&copy), EXPIRED);
}

/// The number of scans of the table of sessions by ended connections.
fn scans(database: &Database) -> usize {
    let scans = database.text(
        "SELECT CAST(seq_scan + coalesce(idx_scan, 0) AS TEXT) FROM pg_stat_user_tables
         WHERE relname = 'sessions'",
    );
    scans.parse().unwrap()
}

on_each_database! {
    /// Pages of every size hold each open session once, and a small page does not take more
    /// queries than a large one to get past the expired sessions.
    async fn expired_sessions_are_passed_over(database: Database) {
        let settings = ["--session-idle=2h", "--session-sweep=1d"];
        let server = TestServer::start_with(&database, &settings).await;
        server.register().await;
        let mut open = Vec::new();
        for round in 0..3 {
            open.push(server.login().await);
            add_expired(&database, round);
            server.clock.advance(HOUR);
            for login in &open {
                server.client.check(&login.session_id).await.unwrap();
            }
        }
        server.clock.advance(HOUR);
        for login in &open {
            server.client.check(&login.session_id).await.unwrap();
        }
        let mut expected: Vec<&str> =
            open.iter().map(|login| login.session.as_ref().unwrap().handle.as_str()).collect();
        expected.sort_unstable();
        for (page_size, pages) in [(1, &[1, 1, 1][..]), (2, &[2, 1]), (3, &[3]), (0, &[3])] {
            let (mut token, mut sizes, mut listed) = (String::new(), Vec::new(), Vec::new());
            loop {
                let page = server.client.list_page(&open[0].session_id, page_size, &token).await;
                let page = page.unwrap();
                sizes.push(page.sessions.len());
                listed.extend(page.sessions.into_iter().map(|session| session.handle));
                token = page.next_page_token;
                if token.is_empty() {
                    break;
                }
            }
            listed.sort_unstable();
            assert_eq!(listed, expected, "{page_size}");
            assert_eq!(sizes, pages, "{page_size}");
        }
        if database.is_sqlite() {
            return;
        }
        // The statistics of a connection are complete when it has ended.
        let clock = server.clock.clone();
        server.stop().await;
        let before = scans(&database);
        let server = TestServer::start_at_time(database.url(), &settings, clock).await;
        for login in &open[1..] {
            server.client.logout(&login.session_id).await.unwrap();
        }
        // The last open session comes after all expired ones.
        let page = server.client.list_page(&open[0].session_id, 1, "").await.unwrap();
        assert_eq!(page.sessions.len(), 1);
        server.stop().await;
        let scanned = scans(&database) - before;
        assert!(scanned < 300, "{scanned} scans");
    }
}
