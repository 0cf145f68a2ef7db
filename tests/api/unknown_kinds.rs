//! Rows of kinds that a later version has added to the outgoing mails and the revocations.

use std::time::Duration;

use tokio::time::sleep;

use crate::harness::{
    Database, EMAIL, PASSWORD, Process, eventually, on_each_database,
    outbox::mails_in,
    server::Client,
    watch::{head, log_after},
};

/// Several readings of the table and of the log, which repeat no line. It does not prove that
/// there were any.
const READINGS: Duration = Duration::from_millis(700);

macro_rules! migrations {
    ($database:literal) => {
        [
            include_str!(concat!(
                "../../migrations/",
                $database,
                "/0001_users_and_sessions/up.sql"
            )),
            include_str!(concat!(
                "../../migrations/",
                $database,
                "/0002_password_changes_and_outgoing_mail/up.sql"
            )),
            include_str!(concat!(
                "../../migrations/",
                $database,
                "/0003_revocations/up.sql"
            )),
            include_str!(concat!(
                "../../migrations/",
                $database,
                "/0004_revocation_positions/up.sql"
            )),
            include_str!(concat!(
                "../../migrations/",
                $database,
                "/0005_reset_tokens_and_trusted_clock/up.sql"
            )),
            include_str!(concat!(
                "../../migrations/",
                $database,
                "/0006_decoys/up.sql"
            )),
        ]
    };
}

/// Adds an entry to the log of revocations as a trigger would.
fn log_revocation(database: &Database, kind: &str, user_id: i64) {
    database.execute(&match database.is_sqlite() {
        true => format!(
            "INSERT INTO revocations (revision, kind, user_id)
             VALUES ((SELECT revision FROM next_revision), '{kind}', {user_id})"
        ),
        false => format!("INSERT INTO revocations (kind, user_id) VALUES ('{kind}', {user_id})"),
    });
}

fn add_mail(database: &Database, kind: &str) {
    database.execute(&format!(
        "INSERT INTO outgoing_mails (kind, email, created_at, due_at, tries)
         VALUES ('{kind}', '{EMAIL}', '2020-01-01 00:00:00', '2020-01-01 00:00:00', 0)"
    ));
}

on_each_database! {
    /// Mails of an unknown kind stay unsent for the nodes of the later version, and entries of
    /// an unknown kind end no session; each is logged once.
    async fn rows_of_a_later_version_are_left_alone(database: Database) {
        let folder = tempfile::tempdir().unwrap();
        let outbox = folder.path().join("outbox");
        let setting = format!("--outbox={}", outbox.display());
        let settings = ["--bcrypt-cost=4", "--database-url", database.url(), &setting];
        let process = Process::start(folder.path(), &settings);
        let client = Client::connect(process.address).await;
        let user = client.register(EMAIL, PASSWORD).await.unwrap();
        let session_id = client.login(EMAIL, PASSWORD).await.unwrap().session_id;
        client.check(&session_id).await.unwrap();
        for _ in 0..2 {
            add_mail(&database, "later_mail");
            log_revocation(&database, "later_revocation", user.id);
            process.until_logged("later_mail").await;
            process.until_logged("entries of a kind").await;
            sleep(READINGS).await;
            client.check(&session_id).await.unwrap();
        }
        client.request_password_reset(EMAIL).await.unwrap();
        eventually("a mail of a known kind", async || !mails_in(&outbox).is_empty()).await;
        client.logout(&session_id).await.unwrap();
        client.expect_no_session(&session_id).await;
        process.signal("TERM");
        let (_, log) = process.wait();
        for word in ["later_mail", "entries of a kind"] {
            assert_eq!(log.matches(word).count(), 1, "{word}: {log}");
        }
        let untouched = "SELECT CAST(count(*) AS TEXT) FROM outgoing_mails
                         WHERE kind = 'later_mail' AND tries = 0 AND claimed_until IS NULL";
        assert_eq!(database.text(untouched), "2");
    }

    /// The migration that drops the constraints on kinds keeps rows and sequences: ids and
    /// revisions of deleted rows are not assigned again.
    async fn the_migration_keeps_rows_and_sequences(database: Database) {
        for migration in match database.is_sqlite() {
            true => migrations!("sqlite"),
            false => migrations!("postgres"),
        } {
            database.batch(migration);
        }
        database.batch(&format!(
            "CREATE TABLE __diesel_schema_migrations (
                 version VARCHAR(50) PRIMARY KEY NOT NULL,
                 run_on TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP
             );
             INSERT INTO __diesel_schema_migrations (version)
             VALUES ('0001'), ('0002'), ('0003'), ('0004'), ('0005'), ('0006');
             INSERT INTO users (email, hashed_password, created_at)
             VALUES ('{EMAIL}', 'none', CURRENT_TIMESTAMP);"
        ));
        for kind in ["session_ended", "user_changed", "user_changed"] {
            log_revocation(&database, kind, 1);
        }
        let (last, mut entries) = (head(&database), log_after(&database, 0));
        database.batch(
            "INSERT INTO outgoing_mails (kind, email, created_at, due_at, tries) VALUES
                 ('password_changed', 'a@example.com', '2020-01-01 00:00:00', '2099-01-01 00:00:00', 3),
                 ('password_reset', 'b@example.com', '2020-01-01 00:00:00', '2099-01-01 00:00:00', 0);
             DELETE FROM outgoing_mails WHERE email = 'b@example.com';",
        );
        database.execute(&format!("DELETE FROM revocations WHERE revision = {last}"));
        entries.pop();

        let folder = tempfile::tempdir().unwrap();
        let settings = ["--bcrypt-cost=4", "--database-url", database.url()];
        let process = Process::start(folder.path(), &settings);
        assert_eq!(log_after(&database, 0), entries);
        let kept = "SELECT kind || ' ' || email || ' ' || CAST(tries AS TEXT) FROM outgoing_mails";
        assert_eq!(database.text(kept), "password_changed a@example.com 3");
        add_mail(&database, "later_mail");
        let id = "SELECT CAST(max(id) AS TEXT) FROM outgoing_mails";
        assert_eq!(database.text(id), "3");
        database.execute("UPDATE users SET email = 'eve@example.com'");
        assert!(head(&database) > last, "a trigger has logged the change");
        process.signal("TERM");
        process.wait();
    }
}
