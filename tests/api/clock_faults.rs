//! Wrong clocks, ahead or behind: none of them removes live rows or extends a lifetime.

use std::time::Duration;

use tokio::time::sleep;
use tonic::Code;

use crate::harness::{
    Database, EMAIL, Expect as _, NEW_PASSWORD, PASSWORD, Process, TestServer, eventually,
    on_each_database,
    server::TestClock,
    smtp::{Behaviour, SmtpServer},
};

const MINUTE: Duration = Duration::from_secs(60);
const DAY: Duration = Duration::from_secs(86_400);

/// Enough sweeps to show that they have no effect.
const SWEEPS: u64 = 20;

/// Longer than the interval of sweeps by far. A process shows no sweep that changes nothing, so
/// this does not prove that there were any.
const REPETITION: Duration = Duration::from_millis(500);

const SWEEPING: &str = "--session-sweep=20ms";

fn number(database: &Database, of: &str) -> usize {
    let text = database.text(&format!("SELECT CAST(count(*) AS TEXT) FROM {of}"));
    text.parse().unwrap()
}

async fn until_count_is(database: &Database, many: usize, of: &str) {
    eventually(format!("{many} rows of {of}"), async || {
        number(database, of) == many
    })
    .await;
}

/// A clock with a wrong time from the start.
fn clock_off_by(days: i64) -> TestClock {
    let clock = TestClock::default();
    clock.jump(days * 86_400);
    clock
}

async fn start_off_by(database: &Database, days: i64) -> TestServer {
    TestServer::start_at_time(database.url(), &[SWEEPING], clock_off_by(days)).await
}

/// The condition for rows dated after now.
fn later_than(column: &str, clock: &TestClock) -> String {
    let now = clock.now() + chrono::TimeDelta::minutes(6);
    format!("{column} > '{}'", now.format("%Y-%m-%d %H:%M:%S"))
}

on_each_database! {
    /// A clock that jumps ahead, or is ahead at the start, removes neither sessions nor the log
    /// of revocations.
    async fn one_wrong_clock_removes_nothing(database: Database) {
        let server = TestServer::start_with(&database, &[SWEEPING]).await;
        server.register().await;
        let logins = server.logins(20).await;
        let ended = server.login().await.session_id;
        server.client.logout(&ended).await.unwrap();
        server.clock.jump(8 * 86_400);
        server.clock.sweeps(SWEEPS).await;
        assert_eq!((number(&database, "sessions"), number(&database, "revocations")), (20, 1));
        server.clock.jump(-8 * 86_400);
        for login in &logins {
            server.client.check(&login.session_id).await.unwrap();
        }
        server.stop().await;
        let ahead = start_off_by(&database, 8).await;
        ahead.clock.sweeps(SWEEPS).await;
        ahead.stop().await;
        assert_eq!((number(&database, "sessions"), number(&database, "revocations")), (20, 1));
        let server = TestServer::start(&database).await;
        for login in &logins {
            server.client.check(&login.session_id).await.unwrap();
        }
    }

    /// In normal operation a session is removed a day after its expiry.
    async fn a_session_is_removed_a_day_after_its_expiry(database: Database) {
        let settings = ["--session-idle=2h", SWEEPING];
        let server = TestServer::start_with(&database, &settings).await;
        server.register().await;
        let logins = server.logins(3).await;
        for (login, hours) in logins.iter().zip([1, 25, 27]) {
            let handle = &login.session.as_ref().unwrap().handle;
            let seen = server.clock.now() - chrono::TimeDelta::hours(hours);
            let seen = seen.format("%Y-%m-%d %H:%M:%S");
            let age = format!("UPDATE sessions SET last_seen_at = '{seen}' WHERE handle = '{handle}'");
            assert_eq!(database.execute(&age), 1);
        }
        until_count_is(&database, 2, "sessions").await;
        server.clock.sweeps(SWEEPS).await;
        assert_eq!(number(&database, "sessions"), 2);
        if database.is_sqlite() {
            // The database's own clock cannot be moved.
            server.clock.advance(2 * DAY);
            until_count_is(&database, 0, "sessions").await;
        }
    }

    /// A session opened under a clock far ahead ends within its limits by the right clock, in
    /// memory and in the database.
    async fn a_session_dated_after_now_keeps_its_limits(database: Database) {
        let ahead = start_off_by(&database, 400).await;
        ahead.register().await;
        let (idle, busy) = (ahead.login().await.session_id, ahead.login().await.session_id);
        ahead.stop().await;
        let right = TestServer::start_with(&database, &[SWEEPING]).await;
        // Memory holds the session with its wrong date.
        right.client.check(&idle).await.unwrap();
        let checked = right.client.check(&busy).await.unwrap();
        let expires = checked.session.unwrap().expires_at.unwrap().seconds;
        assert!(expires <= (right.clock.now() + 7 * DAY + 6 * MINUTE).timestamp());
        let dated_ahead = format!("sessions WHERE {}", later_than("created_at", &right.clock));
        until_count_is(&database, 0, &dated_ahead).await;
        for _ in 0..4 {
            right.clock.advance(6 * DAY);
            right.client.check(&busy).await.unwrap();
            // The use is written after the reply.
            let seen = right.clock.now() - DAY;
            let seen = format!("sessions WHERE last_seen_at > '{}'", seen.format("%Y-%m-%d"));
            until_count_is(&database, 1, &seen).await;
        }
        right.client.expect_no_session(&idle).await;
        right.clock.advance(6 * DAY);
        right.client.expect_no_session(&busy).await;
        right.stop().await;
        let clock = TestClock::default();
        clock.advance(30 * DAY);
        let again = TestServer::start_at_time(database.url(), &[], clock).await;
        again.client.expect_no_session(&busy).await;
    }

    /// A clock behind leaves sessions unchanged.
    async fn a_clock_behind_removes_nothing(database: Database) {
        let server = TestServer::start_with(&database, &[SWEEPING]).await;
        server.register().await;
        let logins = server.logins(5).await;
        let times = || database.text("SELECT CAST(min(created_at) AS TEXT) FROM sessions");
        let created_at = times();
        server.clock.jump(-400 * 86_400);
        for login in &logins {
            server.client.check(&login.session_id).await.unwrap();
        }
        server.clock.sweeps(SWEEPS).await;
        server.clock.jump(400 * 86_400);
        server.client.check(&logins[0].session_id).await.unwrap();
        server.stop().await;
        let behind = start_off_by(&database, -400).await;
        for login in &logins {
            behind.client.check(&login.session_id).await.unwrap();
        }
        behind.clock.sweeps(SWEEPS).await;
        behind.stop().await;
        assert_eq!(times(), created_at);
        let server = TestServer::start(&database).await;
        for login in &logins {
            server.client.check(&login.session_id).await.unwrap();
        }
    }

    /// A reset token mailed under a clock far ahead expires like any other, by the right clock
    /// and by its own date.
    async fn a_reset_token_dated_after_now_expires_in_time(database: Database) {
        let ahead = start_off_by(&database, 100).await;
        ahead.register().await;
        let token = ahead.reset_token().await;
        ahead.stop().await;
        let right = TestServer::start_with(&database, &[SWEEPING]).await;
        until_count_is(&database, 0, "users WHERE reset_token IS NOT NULL").await;
        right.clock.advance(16 * MINUTE);
        let refused = right.client.reset_password(&token, NEW_PASSWORD).await;
        refused.expect_refusal(Code::Unauthenticated, "RESET_TOKEN_INVALID");
        right.clock.advance(100 * DAY - 15 * MINUTE);
        let refused = right.client.reset_password(&token, NEW_PASSWORD).await;
        refused.expect_refusal(Code::Unauthenticated, "RESET_TOKEN_INVALID");
        let token = right.reset_token().await;
        right.client.reset_password(&token, NEW_PASSWORD).await.unwrap();
    }

    /// A mail due far ahead, or claimed until then, is sent.
    async fn a_mail_dated_after_now_is_sent_at_once(database: Database) {
        let smtp = SmtpServer::start().await;
        smtp.behave(Behaviour::RefuseMessage("451 later"));
        let url = format!("--smtp-url={}", smtp.url("", "127.0.0.1"));
        let settings = [url.as_str(), SWEEPING];
        let ahead = TestServer::start_at_time(database.url(), &settings, clock_off_by(100)).await;
        ahead.register().await;
        ahead.client.request_password_reset(EMAIL).await.unwrap();
        let failed = "outgoing_mails WHERE tries > 0 AND claimed_until IS NULL";
        until_count_is(&database, 1, failed).await;
        ahead.stop().await;
        smtp.behave(Behaviour::Accept);
        for claimed in [false, true] {
            if claimed {
                database.execute(
                    "INSERT INTO outgoing_mails (kind, email, created_at, due_at, tries, claimed_until)
                     VALUES ('password_changed', 'ada@example.com', '2020-01-01 00:00:00',
                         '2020-01-01 00:00:00', 1, '2126-01-01 00:00:00')",
                );
            }
            let right = TestServer::start_with(&database, &settings).await;
            assert_eq!(smtp.next().await.mail.only_recipient(), EMAIL);
            until_count_is(&database, 0, "outgoing_mails").await;
            right.stop().await;
        }
    }

    /// The log reports the pause of the sweep, and its end, once each.
    async fn an_untrusted_clock_is_logged_once(database: Database) {
        let folder = tempfile::tempdir().unwrap();
        let settings = ["--bcrypt-cost=4", "--database-url", database.url(), SWEEPING];
        let start = || Process::start(folder.path(), &settings);
        let stop = |process: Process| {
            process.signal("TERM");
            process.wait().1
        };
        stop(start());
        database.execute("UPDATE trusted_clock SET trusted_at = '2020-01-01 00:00:00'");
        let process = start();
        process.until_logged("expired rows are kept").await;
        sleep(REPETITION).await;
        let now = TestClock::default().now().format("%Y-%m-%d %H:%M:%S");
        let log = stop(process);
        assert_eq!(log.matches("expired rows are kept").count(), 1, "{log}");
        database.execute(&format!("UPDATE trusted_clock SET trusted_at = '{now}'"));
        let log = stop(start());
        assert_eq!(log.matches("expired rows are kept").count(), 0, "{log}");
    }
}

/// A node with a wrong clock ends no sessions of the others, and its own sessions end in time
/// on all nodes.
#[tokio::test(flavor = "multi_thread")]
async fn a_node_with_a_wrong_clock_removes_nothing() {
    let Some(database) = Database::postgres().await else {
        return;
    };
    let right = TestServer::start_with(&database, &[SWEEPING]).await;
    right.register().await;
    let logins = right.logins(20).await;
    let wrong = start_off_by(&database, 8).await;
    wrong.clock.sweeps(SWEEPS).await;
    assert_eq!(number(&database, "sessions"), 20);
    // Used under the wrong clock, too, as far as that node accepts them.
    for login in &logins {
        let _ = wrong.client.check(&login.session_id).await;
        right.client.check(&login.session_id).await.unwrap();
    }
    let opened = wrong
        .client
        .login(EMAIL, PASSWORD)
        .await
        .unwrap()
        .session_id;
    right.client.check(&opened).await.unwrap();
    let dated_ahead = format!("sessions WHERE {}", later_than("created_at", &right.clock));
    until_count_is(&database, 0, &dated_ahead).await;
    right.client.check(&opened).await.unwrap();
    right.clock.advance(7 * DAY + MINUTE);
    right.client.expect_no_session(&opened).await;
}
