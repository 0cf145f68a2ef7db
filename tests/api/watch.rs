//! `WatchRevocations`: no event is missing, repeated or out of order.

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use bienvenue::proto::v1::{LoginResponse, watch_revocations_response::Event};
use diesel::connection::SimpleConnection as _;
use futures_util::future::join_all;
use tokio::time::sleep;
use tonic::Code;

use crate::harness::{
    Database, EMAIL, Expect as _, NEW_PASSWORD, PASSWORD, TestServer, Watcher,
    database::connect_postgres,
    eventually, on_each_database, refused,
    requests::Session,
    status::violation,
    watch::{head, log_after, open_sessions, session_ended, user_changed, user_sessions_ended},
};

const HOUR: Duration = Duration::from_secs(3_600);

fn handle(login: &LoginResponse) -> String {
    login.session.clone().unwrap().handle
}

/// The next events, in any order.
async fn next_events(watcher: &mut Watcher, many: usize) -> BTreeSet<String> {
    let mut events = BTreeSet::new();
    while events.len() < many {
        events.insert(format!("{:?}", watcher.event().await.1));
    }
    events
}

fn set(events: &[Event]) -> BTreeSet<String> {
    events.iter().map(|event| format!("{event:?}")).collect()
}

/// Ends some sessions one after the other; returns their handles.
async fn log_out_some(server: &TestServer, many: usize) -> Vec<String> {
    let mut ended = Vec::new();
    for _ in 0..many {
        let login = server.login().await;
        server.client.logout(&login.session_id).await.unwrap();
        ended.push(handle(&login));
    }
    ended
}

/// Waits until the log is swept up to a revision.
async fn until_swept(database: &Database, revision: i64) {
    let through = "SELECT CAST(through AS TEXT) FROM swept_revocations";
    eventually("the log is swept", async || {
        database.text(through) == revision.to_string()
    })
    .await;
}

on_each_database! {
    /// Logout, revocation of one session and of all others.
    async fn sessions_ended_by_their_user_are_announced(database: Database) {
        let server = TestServer::start_watched(&database, &[]).await;
        let user = server.register().await;
        let mut watcher = server.watch(None).await.unwrap();
        let logins = server.logins(5).await;
        let ended = |n: usize| session_ended(&handle(&logins[n]), user.id);
        server.client.logout(&logins[0].session_id).await.unwrap();
        assert_eq!(watcher.event().await.1, ended(0));
        let own = &logins[4].session_id;
        server.client.revoke_session(own, &handle(&logins[1])).await.unwrap();
        assert_eq!(watcher.event().await.1, ended(1));
        assert_eq!(server.client.revoke_other_sessions(own).await.unwrap(), 2);
        assert_eq!(next_events(&mut watcher, 2).await, set(&[ended(2), ended(3)]));
        // Calls without an effect are not announced.
        server.client.check(own).await.unwrap();
        assert_eq!(server.client.revoke_other_sessions(own).await.unwrap(), 0);
        server.client.logout("sess_unknown").await.unwrap_err();
        server.client.logout(own).await.unwrap();
        assert_eq!(watcher.event().await.1, ended(4));
    }

    /// A password change, and a reset.
    async fn sessions_ended_by_a_new_password_are_announced(database: Database) {
        let settings = ["--reset-delivery=response"];
        let server = TestServer::start_watched(&database, &settings).await;
        let user = server.register().await;
        let mut watcher = server.watch(None).await.unwrap();
        let logins = [server.login().await, server.login().await];
        let changed = server
            .client
            .change_password(&logins[0].session_id, PASSWORD, NEW_PASSWORD)
            .await
            .unwrap();
        let all = [
            user_sessions_ended(user.id),
            session_ended(&handle(&logins[0]), user.id),
            session_ended(&handle(&logins[1]), user.id),
        ];
        assert_eq!(next_events(&mut watcher, 3).await, set(&all));
        server.client.check(&changed.session_id).await.unwrap();
        let token = server.reset_token_in_reply().await;
        server.client.reset_password(&token, PASSWORD).await.unwrap();
        let all = [
            user_sessions_ended(user.id),
            session_ended(&changed.session.unwrap().handle, user.id),
        ];
        assert_eq!(next_events(&mut watcher, 2).await, set(&all));
        assert!(watcher.until(head(&database)).await.is_empty());
    }

    /// Sessions replaced by a login: the presented one, and the least recently seen at the
    /// limit.
    async fn sessions_replaced_by_a_login_are_announced(database: Database) {
        let server = TestServer::start_watched(&database, &[]).await;
        let user = server.register().await;
        let mut watcher = server.watch(None).await.unwrap();
        let mut browser = Session::new(server.address);
        let form = [("email", EMAIL), ("password", PASSWORD)];
        let mut handles = Vec::new();
        for _ in 0..2 {
            browser.post("/sessions").data(form).await;
            let session_id = browser.cookie("session_id").unwrap().to_owned();
            let checked = server.client.check(&session_id).await.unwrap();
            handles.push(checked.session.unwrap().handle);
        }
        assert_eq!(watcher.event().await.1, session_ended(&handles[0], user.id));
        // A thousand in all, the limit.
        open_sessions(&database, user.id, 999);
        server.clock.advance(HOUR);
        let login = server.login().await;
        let (_, event) = watcher.event().await;
        assert!(matches!(&event, Event::SessionEnded(ended) if ended.user_id == user.id), "{event:?}");
        assert_ne!(event, session_ended(&handle(&login), user.id));
        assert!(watcher.until(head(&database)).await.is_empty());
    }

    /// Expired sessions are announced once they are removed.
    async fn an_expired_session_is_announced(database: Database) {
        let settings = ["--session-idle=2h", "--session-sweep=20ms"];
        let server = TestServer::start_watched(&database, &settings).await;
        let user = server.register().await;
        let mut watcher = server.watch(None).await.unwrap();
        let expiring = server.login().await;
        let fresh = server.login().await;
        // A day after its limit, even where the database's clock differs.
        let seen = (server.clock.now() - 27 * HOUR).format("%Y-%m-%d %H:%M:%S");
        let handle_of = handle(&expiring);
        database.execute(&format!("UPDATE sessions SET last_seen_at = '{seen}' WHERE handle = '{handle_of}'"));
        assert_eq!(watcher.event().await.1, session_ended(&handle(&expiring), user.id));
        server.client.check(&fresh.session_id).await.unwrap();
        assert!(watcher.until(head(&database)).await.is_empty());
    }

    /// Changes by SQL statements are announced, too.
    async fn changes_by_hand_are_announced(database: Database) {
        let server = TestServer::start_watched(&database, &[]).await;
        let user = server.register().await;
        let other = server.client.register("bob@example.com", PASSWORD).await.unwrap();
        let mut watcher = server.watch(None).await.unwrap();
        let logins = [server.login().await, server.login().await];
        database.execute(&format!("DELETE FROM sessions WHERE handle = '{}'", handle(&logins[0])));
        assert_eq!(watcher.event().await.1, session_ended(&handle(&logins[0]), user.id));
        let email = |email: &str| {
            database.execute(&format!("UPDATE users SET email = '{email}' WHERE id = {}", user.id))
        };
        email(EMAIL);
        assert!(watcher.until(head(&database)).await.is_empty(), "no change");
        email("lovelace@example.com");
        assert_eq!(watcher.event().await.1, user_changed(user.id));
        // A check after the event reflects the change.
        let checked = server.client.check(&logins[1].session_id).await.unwrap();
        assert_eq!(checked.user.unwrap().email, "lovelace@example.com");
        let foreign_keys = if database.is_sqlite() { "PRAGMA foreign_keys = ON;" } else { "" };
        database.batch(&format!("{foreign_keys} DELETE FROM users WHERE id = {}", user.id));
        let all = [session_ended(&handle(&logins[1]), user.id), user_sessions_ended(user.id)];
        assert_eq!(next_events(&mut watcher, 2).await, set(&all));
        server.client.expect_no_session(&logins[1].session_id).await;
        database.execute(&format!("DELETE FROM users WHERE id = {}", other.id));
        assert_eq!(watcher.event().await.1, user_sessions_ended(other.id));
    }

    /// From the beginning, the middle and the end.
    async fn a_stream_begins_after_any_revision(database: Database) {
        let server = TestServer::start_watched(&database, &[]).await;
        let user = server.register().await;
        let ended = log_out_some(&server, 12).await;
        let log = log_after(&database, 0);
        let expected: Vec<Event> = ended.iter().map(|handle| session_ended(handle, user.id)).collect();
        assert_eq!(log.iter().map(|(_, event)| event.clone()).collect::<Vec<_>>(), expected);
        let last = head(&database);
        for (after, since) in (0..).zip([0].into_iter().chain(log.iter().map(|entry| entry.0))) {
            let mut watcher = server.watch(Some(since)).await.unwrap();
            assert_eq!(watcher.until(last).await, log[after..], "{since}");
        }
        let mut watcher = server.watch(None).await.unwrap();
        assert_eq!(watcher.last, last);
        let more = log_out_some(&server, 1).await;
        assert_eq!(watcher.event().await.1, session_ended(&more[0], user.id));
    }

    async fn an_unknown_revision_is_refused(database: Database) {
        let server = TestServer::start_watched(&database, &[]).await;
        server.register().await;
        log_out_some(&server, 2).await;
        let log = log_after(&database, 0);
        let [first, last] = [log[0].0, log[1].0];
        // Neither later revisions nor those in between have been used.
        for unknown in [last + 1, last + 1_000, i64::MAX, first - 1, first + 1, last - 1] {
            if unknown == 0 || unknown == first || unknown == last {
                continue;
            }
            let refusal = server.watch(Some(unknown)).await;
            refusal.map(drop).expect_refusal(Code::OutOfRange, "REVISION_SWEPT");
        }
        for negative in [-1, i64::MIN] {
            let refusal = server.watch(Some(negative)).await.map(drop);
            let details = refusal.expect_refusal(Code::InvalidArgument, "INVALID_FIELD");
            assert_eq!(violation(&details).0, "since_revision");
        }
    }

    /// A revision before the swept part is refused.
    async fn a_swept_revision_is_refused(database: Database) {
        let settings = ["--revocation-retention=1s", "--session-sweep=20ms"];
        let server = TestServer::start_watched(&database, &settings).await;
        let user = server.register().await;
        let mut current = server.watch(None).await.unwrap();
        let mut revisions = Vec::new();
        for _ in 0..3 {
            log_out_some(&server, 1).await;
            revisions.push(head(&database));
        }
        let (before_last, last) = (revisions[1], revisions[2]);
        // All but the last entry, which identifies the log.
        until_swept(&database, before_last).await;
        assert_eq!(log_after(&database, 0).len(), 1);
        for since in [0, 1, revisions[0], before_last - 1] {
            let refusal = server.watch(Some(since)).await;
            refusal.map(drop).expect_refusal(Code::OutOfRange, "REVISION_SWEPT");
        }
        let mut after_the_sweep = server.watch(Some(before_last)).await.unwrap();
        assert_eq!(after_the_sweep.until(last).await.len(), 1);
        // Current streams and new ones are not affected.
        assert_eq!(current.until(last).await.len(), 3);
        let mut new_stream = server.watch(None).await.unwrap();
        assert_eq!(new_stream.last, last);
        let mut at_the_end = server.watch(Some(last)).await.unwrap();
        let ended = session_ended(&log_out_some(&server, 1).await[0], user.id);
        for watcher in [&mut current, &mut new_stream, &mut at_the_end] {
            assert_eq!(watcher.event().await.1, ended);
            assert!(watcher.last > last, "a revision is never used twice");
        }
        // A server started on a swept log begins at its end.
        until_swept(&database, last).await;
        let last = current.last;
        server.stop().await;
        let server = TestServer::start_watched(&database, &settings).await;
        assert_eq!(server.watch(None).await.unwrap().last, last);
        server.watch(Some(last)).await.unwrap();
    }

    /// Including changes while no server ran.
    async fn a_stream_resumes_after_a_restart(database: Database) {
        let server = TestServer::start_watched(&database, &[]).await;
        let user = server.register().await;
        let mut watcher = server.watch(Some(0)).await.unwrap();
        let mut received = Vec::new();
        let mut expected = log_out_some(&server, 3).await;
        let open = server.login().await;
        received.extend(watcher.until(head(&database)).await);
        server.stop().await;
        refused(&watcher.end().await, Code::Unavailable, "UNAVAILABLE");
        database.execute(&format!("DELETE FROM sessions WHERE handle = '{}'", handle(&open)));
        expected.push(handle(&open));
        let server = TestServer::start_watched(&database, &[]).await;
        let mut watcher = server.watch(Some(watcher.last)).await.unwrap();
        expected.extend(log_out_some(&server, 2).await);
        received.extend(watcher.until(head(&database)).await);
        let events: Vec<Event> = received.iter().map(|(_, event)| event.clone()).collect();
        let expected: Vec<Event> = expected.iter().map(|handle| session_ended(handle, user.id)).collect();
        assert_eq!(events, expected);
        assert_eq!(received, log_after(&database, 0));
    }

    /// Without events, heartbeats arrive in time.
    async fn heartbeats_arrive_in_time(database: Database) {
        let server = TestServer::start_watched(&database, &[]).await;
        server.register().await;
        log_out_some(&server, 1).await;
        let last = head(&database);
        let mut watcher = server.watch(None).await.unwrap();
        let start = Instant::now();
        for _ in 0..8 {
            let before = Instant::now();
            let (revision, event) = watcher.next().await.unwrap();
            assert!(matches!(event, Event::Heartbeat(_)), "{event:?}");
            assert_eq!(revision, last);
            // Four times the promised interval, for a busy machine; caches turn off then.
            assert!(before.elapsed() < Duration::from_secs(1));
        }
        assert!(start.elapsed() < 8 * Duration::from_millis(500), "{:?}", start.elapsed());
    }

    /// All streams get the same events, whenever they began, with concurrent changes.
    async fn all_streams_have_the_same_events(database: Database) {
        let server = TestServer::start_watched(&database, &[]).await;
        server.register().await;
        let logouts = join_all((0..8).map(|caller| {
            let (server, database) = (&server, &database);
            async move {
                let client = crate::harness::server::Client::connect(server.address).await;
                for n in 0..40 {
                    let login = client.login(EMAIL, PASSWORD).await.unwrap();
                    match (caller + n) % 8 {
                        0 => drop(database.execute(&format!(
                            "DELETE FROM sessions WHERE handle = '{}'", handle(&login)))),
                        _ => client.logout(&login.session_id).await.unwrap(),
                    }
                }
            }
        }));
        let watchers = join_all((0..16).map(|n: u64| {
            let (server, database) = (&server, &database);
            async move {
                sleep(Duration::from_millis(n * 30)).await;
                let since = n.is_multiple_of(2).then(|| {
                    let log = log_after(database, 0);
                    let place = log.len() * usize::try_from(n).unwrap() / 16;
                    log.get(place).map_or(0, |entry| entry.0)
                });
                let watcher = server.watch(since).await.unwrap();
                (watcher.last, watcher)
            }
        }));
        let ((), watchers) = tokio::join!(async { drop(logouts.await) }, watchers);
        let (log, last) = (log_after(&database, 0), head(&database));
        assert_eq!(log.len(), 8 * 40);
        for (since, mut watcher) in watchers {
            let rest: Vec<_> = log.iter().filter(|entry| entry.0 > since).cloned().collect();
            assert_eq!(watcher.until(last).await, rest, "{since}");
        }
    }

    /// A stream without a revision has all events after its first message, even when it begins
    /// among a thousand.
    async fn no_event_after_the_first_message_is_lost(database: Database) {
        let server = TestServer::start_watched(&database, &[]).await;
        let user = server.register().await;
        let client = crate::harness::server::Client::connect(server.admin_address.unwrap()).await;
        for _ in 0..10 {
            open_sessions(&database, user.id, 1_000);
            let behind = database.clone();
            let ending = tokio::task::spawn_blocking(move || behind.execute("DELETE FROM sessions"));
            let mut watchers = Vec::new();
            while !ending.is_finished() || watchers.len() < 5 {
                watchers.push(Watcher::begin_on(client.channel.clone(), None).await.unwrap());
                if watchers.len() > 50 {
                    watchers.remove(0);
                }
            }
            ending.await.unwrap();
            for _ in 0..5 {
                watchers.push(Watcher::begin_on(client.channel.clone(), None).await.unwrap());
            }
            let (log, last) = (log_after(&database, 0), head(&database));
            for mut watcher in watchers {
                let since = watcher.last;
                let rest = log.iter().filter(|entry| entry.0 > since).count();
                assert_eq!(watcher.until(last).await.len(), rest, "after {since}");
            }
        }
    }
}

/// A session ended on one node is announced on the other.
#[tokio::test(flavor = "multi_thread")]
async fn other_nodes_announce_revocations() {
    let Some(database) = Database::postgres().await else {
        return;
    };
    let a = TestServer::start_watched(&database, &[]).await;
    let b = TestServer::start_watched(&database, &[]).await;
    let user = a.register().await;
    let mut watcher = b.watch(None).await.unwrap();
    for _ in 0..20 {
        let login = a.login().await;
        let start = Instant::now();
        a.client.logout(&login.session_id).await.unwrap();
        let event = watcher.event().await.1;
        assert_eq!(event, session_ended(&handle(&login), user.id));
        assert!(start.elapsed() < Duration::from_secs(1));
        b.client.expect_no_session(&login.session_id).await;
    }
}

/// Events before a node begins to follow the log are announced, too.
#[tokio::test(flavor = "multi_thread")]
async fn a_late_follower_skips_no_event() {
    let Some(database) = Database::postgres().await else {
        return;
    };
    let server = TestServer::start_watched(&database, &[]).await;
    let user = server.register().await;
    server.stop().await;
    // Nodes do not follow a log with a disabled trigger.
    let trigger = |able: &str| {
        database.execute(&format!(
            "ALTER TABLE sessions {able} TRIGGER sessions_ended"
        ))
    };
    trigger("DISABLE");
    let server = TestServer::start_watched(&database, &[]).await;
    let mut watchers = [
        server.watch(None).await.unwrap(),
        server.watch(Some(0)).await.unwrap(),
    ];
    for email in ["lovelace@example.com", EMAIL] {
        database.execute(&format!("UPDATE users SET email = '{email}'"));
    }
    trigger("ENABLE");
    let last = head(&database);
    for watcher in &mut watchers {
        let received = watcher.until(last).await;
        let events: Vec<Event> = received.into_iter().map(|(_, event)| event).collect();
        assert_eq!(events, [user_changed(user.id), user_changed(user.id)]);
    }
}

/// A transaction with an earlier revision and a later commit than others would be missed by
/// streams past those. So the others wait for it.
#[tokio::test(flavor = "multi_thread")]
async fn revisions_come_in_the_order_of_the_commits() {
    let Some(database) = Database::postgres().await else {
        return;
    };
    let server = TestServer::start_watched(&database, &[]).await;
    let user = server.register().await;
    let other = server
        .client
        .register("bob@example.com", PASSWORD)
        .await
        .unwrap();
    let mut watcher = server.watch(None).await.unwrap();
    let slow = server.login().await;
    let mut raw = connect_postgres(database.url());
    // It takes its revision at once, not at its commit.
    raw.batch_execute(&format!(
        "BEGIN; SET CONSTRAINTS ALL IMMEDIATE; DELETE FROM sessions WHERE handle = '{}'",
        handle(&slow)
    ))
    .unwrap();
    let mut quick = Vec::new();
    for _ in 0..3 {
        let login = server
            .client
            .login("bob@example.com", PASSWORD)
            .await
            .unwrap();
        quick.push(login);
    }
    let logouts = join_all(quick.iter().map(|login| {
        let (client, session_id) = (server.client.clone(), login.session_id.clone());
        tokio::spawn(async move { client.logout(&session_id).await })
    }));
    let waiting = "SELECT count(*)::text FROM pg_locks WHERE locktype = 'advisory' AND NOT granted
         AND database = (SELECT oid FROM pg_database WHERE datname = current_database())";
    let start = Instant::now();
    // Either they wait, or they are done and announced.
    while database.text(waiting) == "0" && start.elapsed() < Duration::from_secs(2) {
        sleep(Duration::from_millis(5)).await;
    }
    raw.batch_execute("COMMIT").unwrap();
    for logout in logouts.await {
        logout.unwrap().unwrap();
    }
    let mut expected: BTreeSet<String> = set(&[session_ended(&handle(&slow), user.id)]);
    for login in &quick {
        expected.extend(set(&[session_ended(&handle(login), other.id)]));
    }
    let received = watcher.until(head(&database)).await;
    assert_eq!(
        set(&received
            .iter()
            .map(|entry| entry.1.clone())
            .collect::<Vec<_>>()),
        expected
    );
    assert_eq!(
        received[0].1,
        session_ended(&handle(&slow), user.id),
        "the first revision comes first"
    );
}

/// A transaction that ends its session first and commits last is announced last.
#[tokio::test(flavor = "multi_thread")]
async fn a_slow_transaction_is_not_missed() {
    let Some(database) = Database::postgres().await else {
        return;
    };
    let server = TestServer::start_watched(&database, &[]).await;
    let user = server.register().await;
    let mut watcher = server.watch(None).await.unwrap();
    let slow = server.login().await;
    let quick = server
        .client
        .register("bob@example.com", PASSWORD)
        .await
        .unwrap();
    let mut raw = connect_postgres(database.url());
    raw.batch_execute(&format!(
        "BEGIN; DELETE FROM sessions WHERE handle = '{}'",
        handle(&slow)
    ))
    .unwrap();
    // Others do not wait for it.
    for _ in 0..5 {
        let login = server
            .client
            .login("bob@example.com", PASSWORD)
            .await
            .unwrap();
        server.client.logout(&login.session_id).await.unwrap();
        let event = watcher.event().await.1;
        assert_eq!(event, session_ended(&handle(&login), quick.id));
    }
    server.client.check(&slow.session_id).await.unwrap();
    raw.batch_execute("COMMIT").unwrap();
    assert_eq!(
        watcher.event().await.1,
        session_ended(&handle(&slow), user.id)
    );
    server.client.expect_no_session(&slow.session_id).await;
}
