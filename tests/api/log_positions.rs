//! A revision identifies its log, where the log has lost entries or has gaps.

use std::fs;

use bienvenue::proto::v1::LoginResponse;
use tokio::time::timeout;
use tonic::Code;

use crate::harness::{
    Database, EMAIL, Expect as _, PASSWORD, PATIENCE, Process, TestServer, on_each_database,
    refused,
    server::Client,
    watch::{head, log_after, open_sessions, session_ended},
};

/// A bound that a busy machine does not exceed, so that checks are answered from memory.
const LONG_LAG: &str = "--revocation-max-lag=1m";

const LOST_LOGOUTS: usize = 10;
const LOGOUTS: usize = 15;

/// The revisions of schemas before version 4 are below this.
const JUMP: i64 = 1 << 32;

fn handle(login: &LoginResponse) -> &str {
    &login.session.as_ref().unwrap().handle
}

/// An older copy of the file is restored while the server is stopped.
#[test]
fn a_restored_sqlite_file_starts_a_new_log() {
    Database::sqlite().run(async |database| {
        // Processes, since the rest of a stopped server in this one might still write.
        let folder = tempfile::tempdir().unwrap();
        let start = || {
            let settings = ["--bcrypt-cost=4", "--database-url", database.url()];
            Process::start(folder.path(), &settings)
        };
        let stop = |process: Process| {
            process.signal("TERM");
            assert!(process.wait().0.success());
        };
        let process = start();
        let client = Client::connect(process.address).await;
        let user = client.register(EMAIL, PASSWORD).await.unwrap();
        let mut logins = Vec::new();
        for _ in 0..LOST_LOGOUTS + LOGOUTS + 1 {
            logins.push(client.login(EMAIL, PASSWORD).await.unwrap());
        }
        client.logout(&logins[0].session_id).await.unwrap();
        let common = head(&database);
        stop(process);
        let copies = copies_of(database.path());
        let process = start();
        let client = Client::connect(process.address).await;
        for login in &logins[1..=LOST_LOGOUTS] {
            client.logout(&login.session_id).await.unwrap();
        }
        let log = log_after(&database, common);
        let lost: Vec<i64> = log.iter().map(|entry| entry.0).collect();
        assert_eq!(lost.len(), LOST_LOGOUTS);
        stop(process);
        for (path, content) in copies {
            match content {
                Some(content) => fs::write(path, content).unwrap(),
                None => drop(fs::remove_file(path)),
            }
        }

        let server = TestServer::start_watched(&database, &[]).await;
        let logouts = &logins[LOST_LOGOUTS + 1..];
        for login in logouts {
            server.client.logout(&login.session_id).await.unwrap();
        }
        for lost in lost {
            let resumed = server.watch(Some(lost)).await.map(drop);
            resumed.expect_refusal(Code::OutOfRange, "REVISION_SWEPT");
        }
        let mut resumed = server.watch(Some(common)).await.unwrap();
        for login in logouts {
            assert_eq!(
                resumed.event().await.1,
                session_ended(handle(login), user.id)
            );
        }
    });
}

/// The content of an SQLite database and of the files beside it.
fn copies_of(path: &str) -> Vec<(String, Option<Vec<u8>>)> {
    let paths = ["", "-wal", "-shm"].map(|suffix| format!("{path}{suffix}"));
    let copies = paths.into_iter().map(|path| {
        let content = fs::read(&path).ok();
        (path, content)
    });
    copies.collect()
}

on_each_database! {
    /// The last read entry disappears from the log, which continues after it.
    async fn a_lost_log_entry_ends_the_streams(database: Database) {
        let server = TestServer::start_watched(&database, &[LONG_LAG]).await;
        server.register().await;
        let logins = server.logins(3).await;
        let mut watcher = server.watch(None).await.unwrap();
        server.client.logout(&logins[0].session_id).await.unwrap();
        let (lost, _) = watcher.event().await;
        // Otherwise the triggers run at the end of the transaction.
        let at_once = match database.is_sqlite() {
            true => "",
            false => "SET CONSTRAINTS ALL IMMEDIATE;",
        };
        database.batch(&format!(
            "BEGIN; {at_once}
             DELETE FROM sessions WHERE handle = '{}';
             DELETE FROM revocations WHERE revision >= {lost};
             DELETE FROM sessions WHERE handle = '{}';
             COMMIT;",
            handle(&logins[1]),
            handle(&logins[2])
        ));
        let end = timeout(PATIENCE, watcher.end()).await.expect("the end");
        refused(&end, Code::Unavailable, "UNAVAILABLE");
        for login in &logins {
            server.client.until_session_ends(&login.session_id).await;
        }
        let resumed = server.watch(Some(lost)).await.map(drop);
        resumed.expect_refusal(Code::OutOfRange, "REVISION_SWEPT");
    }

    /// With disabled triggers, a session ends without an entry in the log.
    async fn disabled_triggers_are_noticed(database: Database) {
        let server = TestServer::start_watched(&database, &[LONG_LAG]).await;
        server.register().await;
        let logins = server.logins(2).await;
        for login in &logins {
            server.client.check(&login.session_id).await.unwrap();
        }
        let delete = format!("DELETE FROM sessions WHERE handle = '{}'", handle(&logins[0]));
        if database.is_sqlite() {
            let trigger = database.text("SELECT sql FROM sqlite_schema WHERE name = 'sessions_ended'");
            database.batch(&format!("BEGIN; DROP TRIGGER sessions_ended; {delete}; {trigger}; COMMIT"));
        } else {
            let trigger = |able: &str| format!("ALTER TABLE sessions {able} TRIGGER sessions_ended");
            database.batch(&[trigger("DISABLE"), delete, trigger("ENABLE")].join("; "));
        }
        assert_eq!(head(&database), 0, "the log has no entry");
        server.client.until_session_ends(&logins[0].session_id).await;
        server.client.check(&logins[1].session_id).await.unwrap();
    }

    /// An earlier version's log continues, far above its revisions.
    async fn an_earlier_versions_log_is_continued(database: Database) {
        macro_rules! migrations {
            ($database:literal) => {[
                include_str!(concat!("../../migrations/", $database, "/0001_users_and_sessions/up.sql")),
                include_str!(concat!("../../migrations/", $database, "/0002_password_changes_and_outgoing_mail/up.sql")),
                include_str!(concat!("../../migrations/", $database, "/0003_revocations/up.sql")),
            ]};
        }
        let migrations = match database.is_sqlite() {
            true => migrations!("sqlite"),
            false => migrations!("postgres"),
        };
        for migration in migrations {
            database.batch(migration);
        }
        database.batch(
            "CREATE TABLE __diesel_schema_migrations (
                 version VARCHAR(50) PRIMARY KEY NOT NULL,
                 run_on TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP
             );
             INSERT INTO __diesel_schema_migrations (version) VALUES ('0001'), ('0002'), ('0003');
             INSERT INTO users (email, hashed_password, created_at)
             VALUES ('bob@example.com', 'none', CURRENT_TIMESTAMP);",
        );
        open_sessions(&database, 1, 3);
        database.execute("DELETE FROM sessions");
        let log = log_after(&database, 0);
        assert_eq!(log.iter().map(|entry| entry.0).collect::<Vec<_>>(), [1, 2, 3]);

        let server = TestServer::start_watched(&database, &[]).await;
        let user = server.register().await;
        let login = server.login().await;
        server.client.logout(&login.session_id).await.unwrap();
        let mut watcher = server.watch(Some(2)).await.unwrap();
        assert_eq!(watcher.event().await, log[2]);
        let (revision, event) = watcher.event().await;
        assert_eq!(event, session_ended(handle(&login), user.id));
        assert!(revision > JUMP, "{revision}");
        let refusal = server.watch(Some(4)).await.map(drop);
        refusal.expect_refusal(Code::OutOfRange, "REVISION_SWEPT");
        server.stop().await;

        // Earlier versions sweep the last entry, too.
        database.batch(&format!(
            "DELETE FROM revocations; UPDATE swept_revocations SET through = {revision}"
        ));
        let server = TestServer::start_watched(&database, &[]).await;
        assert_eq!(server.watch(None).await.unwrap().last, revision);
        let mut watcher = server.watch(Some(revision)).await.unwrap();
        let login = server.login().await;
        server.client.logout(&login.session_id).await.unwrap();
        let (next, event) = watcher.event().await;
        assert_eq!(event, session_ended(handle(&login), user.id));
        assert!(next > revision);
        server.client.expect_no_session(&login.session_id).await;
    }

    /// A statement that ends many sessions gives each its own revision.
    async fn each_of_many_ended_sessions_has_a_revision(database: Database) {
        let server = TestServer::start_watched(&database, &[]).await;
        let user = server.register().await;
        let mut watcher = server.watch(None).await.unwrap();
        open_sessions(&database, user.id, 1_000);
        database.execute("DELETE FROM sessions");
        let log = log_after(&database, 0);
        assert_eq!(log.len(), 1_000);
        let steps: Vec<i64> = log.windows(2).map(|pair| pair[1].0 - pair[0].0).collect();
        assert!(steps.iter().all(|step| (1..=1 << 18).contains(step)), "{steps:?}");
        assert!(steps.iter().any(|step| *step != steps[0]), "{steps:?}");
        assert_eq!(watcher.until(log[999].0).await, log);
    }
}
