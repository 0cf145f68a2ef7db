//! An unreadable row affects only its own user.

use futures_util::{StreamExt as _, stream};

use crate::harness::{
    Database, EMAIL, NEW_PASSWORD, PASSWORD, Process, TestServer, eventually, outbox::mails_in,
    server::Client,
};

const BOB: &str = "bob@example.com";

const SETTINGS: [&str; 2] = ["--session-sweep=20ms", "--revocation-retention=1h"];

/// Disables the checks of the schema: a failing disk, an import or an edit of the file may
/// leave such rows.
const UNCHECKED: &str = "PRAGMA ignore_check_constraints = ON; PRAGMA foreign_keys = OFF;";

const MAIL: &str =
    "INSERT INTO outgoing_mails (kind, email, created_at, due_at, tries, claimed_until)";

/// Damage to Bob's rows on SQLite, which accepts nearly any value in any column.
const ON_SQLITE: &[(&str, &str)] = &[
    ("users", "email = CAST(x'ff' AS TEXT)"),
    ("users", "email = x'00ff'"),
    ("users", "email = ''"),
    ("users", "created_at = 'no date'"),
    ("users", "created_at = x'ff'"),
    ("users", "hashed_password = CAST(x'ff' AS TEXT)"),
    ("users", "credential_version = 'x'"),
    (
        "users",
        "reset_token = x'00', reset_token_expires_at = 'soon'",
    ),
    (
        "users",
        "reset_token = zeroblob(32), reset_token_expires_at = -1",
    ),
    ("sessions", "handle = CAST(x'ff' AS TEXT)"),
    ("sessions", "handle = 7"),
    ("sessions", "user_agent = CAST(x'ff' AS TEXT)"),
    ("sessions", "ip = 'nowhere'"),
    ("sessions", "ip = CAST(x'ff' AS TEXT)"),
    ("sessions", "created_at = 'tomorrow'"),
    ("sessions", "last_seen_at = x'ff'"),
    ("sessions", "last_seen_at = '+262142-01-01 00:00:00'"),
    ("sessions", "created_at = -5"),
    ("sessions", "user_id = 'x'"),
    ("sessions", "digest = x'ffff'"),
    ("sessions", "digest = CAST(zeroblob(40) || 'x' AS BLOB)"),
    (
        "sessions",
        "digest = 'text', last_seen_at = '2020-01-01 00:00:00'",
    ),
    ("outgoing_mails", "email = CAST(x'ff' AS TEXT)"),
    ("outgoing_mails", "email = x'ff'"),
    ("outgoing_mails", "email = 'nowhere'"),
    ("outgoing_mails", "kind = 'unknown'"),
    ("outgoing_mails", "kind = CAST(x'ff' AS TEXT)"),
    ("outgoing_mails", "created_at = 'no date'"),
    ("outgoing_mails", "due_at = 7"),
    ("outgoing_mails", "tries = 'many'"),
    ("outgoing_mails", "tries = -5"),
    ("outgoing_mails", "claimed_until = 7"),
    ("revocations", "kind = CAST(x'ff' AS TEXT)"),
    ("revocations", "handle = CAST(x'ff' AS TEXT)"),
    ("revocations", "digest = x'ff'"),
    ("revocations", "at = 'no date'"),
];

/// The same on PostgreSQL, which refuses most of it.
const ON_POSTGRES: &[(&str, &str)] = &[
    ("users", "email = 'BOB@example.com'"),
    ("users", "created_at = 'infinity'"),
    ("users", "created_at = '294000-01-01'"),
    (
        "users",
        "reset_token = sha256(''), reset_token_expires_at = 'infinity'",
    ),
    ("sessions", "handle = 'none'"),
    ("sessions", "ip = 'nowhere'"),
    ("sessions", "created_at = 'infinity'"),
    ("sessions", "created_at = '-infinity'"),
    ("sessions", "last_seen_at = '294000-01-01'"),
    ("outgoing_mails", "email = 'nowhere'"),
    ("outgoing_mails", "created_at = 'infinity'"),
    ("outgoing_mails", "created_at = '294000-01-01'"),
    ("outgoing_mails", "due_at = '-infinity'"),
    ("outgoing_mails", "tries = 9223372036854775807"),
    ("outgoing_mails", "tries = -5"),
    ("revocations", "handle = 'none'"),
    ("revocations", "at = 'infinity'"),
    ("revocations", "at = '294000-01-01'"),
];

/// Gives Bob a session, an ended session and a mail, and damages one of them or Bob's row.
async fn damage(database: &Database, (table, damage): (&str, &str)) {
    let server = TestServer::start_watched(database, &SETTINGS).await;
    server.register().await;
    server.client.register(BOB, PASSWORD).await.unwrap();
    server.client.login(BOB, PASSWORD).await.unwrap();
    let ended = server.client.login(BOB, PASSWORD).await.unwrap().session_id;
    server.client.logout(&ended).await.unwrap();
    server.stop().await;
    let unchecked = if database.is_sqlite() { UNCHECKED } else { "" };
    let bobs = match table {
        "users" => "email = 'bob@example.com'",
        _ => "true",
    };
    database.batch(&format!(
        "{MAIL} VALUES ('password_changed', '{BOB}', '2020-01-01 00:00:00', '2020-01-01 00:00:00', 0, NULL);
         {unchecked} UPDATE {table} SET {damage} WHERE {bobs}"
    ));
}

/// Uses every feature as another user, from the first start on.
async fn everything_works_for_others(database: &Database, damage: (&str, &str)) {
    let server = TestServer::start_watched(database, &SETTINGS).await;
    let mut watcher = server.watch(Some(0)).await.unwrap();
    let login = server.login().await;
    server.client.check(&login.session_id).await.unwrap();
    assert_eq!(
        server
            .client
            .list_sessions(&login.session_id)
            .await
            .unwrap()
            .len(),
        1
    );
    let expired = server.login().await.session.unwrap().handle;
    server.client.request_password_reset(EMAIL).await.unwrap();
    server
        .client
        .request_password_reset("unknown@example.com")
        .await
        .unwrap();
    let mail = loop {
        let mail = server.outbox.next().await;
        if mail.only_recipient() == EMAIL {
            break mail;
        }
    };
    assert_eq!(
        database.execute(&format!(
            "UPDATE sessions SET last_seen_at = '2020-01-01 00:00:00' WHERE handle = '{expired}'"
        )),
        1
    );
    until_no_rows_of(database, &format!("sessions WHERE handle = '{expired}'")).await;
    until_no_rows_of(
        database,
        "outgoing_mails WHERE email = 'unknown@example.com'",
    )
    .await;
    // By then memory is loaded and the log is followed.
    server.client.logout(&login.session_id).await.unwrap();
    let head = database.text("SELECT CAST(max(revision) AS TEXT) FROM revocations");
    watcher.until(head.parse().unwrap()).await;
    server.client.expect_no_session(&login.session_id).await;
    server
        .client
        .reset_password(&mail.reset_token(), NEW_PASSWORD)
        .await
        .unwrap();
    server.client.login(EMAIL, NEW_PASSWORD).await.unwrap();
    until_no_rows_of(database, &format!("outgoing_mails WHERE email = '{EMAIL}'")).await;
    println!("{damage:?} affects no other user");
}

async fn until_no_rows_of(database: &Database, of: &str) {
    let count = format!("SELECT CAST(count(*) AS TEXT) FROM {of}");
    eventually(format!("no rows of {of}"), async || {
        database.text(&count) == "0"
    })
    .await;
}

async fn each(databases: Vec<Database>, cases: &[(&'static str, &'static str)]) {
    let cases = databases.into_iter().zip(cases.iter().copied());
    stream::iter(cases)
        .for_each_concurrent(4, async |(database, case)| {
            println!("{case:?} is tested");
            damage(&database, case).await;
            everything_works_for_others(&database, case).await;
        })
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_row_affects_no_other_user_on_sqlite() {
    let databases = ON_SQLITE.iter().map(|_| Database::sqlite()).collect();
    each(databases, ON_SQLITE).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_row_affects_no_other_user_on_postgres() {
    let mut databases = Vec::new();
    for _ in ON_POSTGRES {
        let Some(database) = Database::postgres().await else {
            return;
        };
        databases.push(database);
    }
    each(databases, ON_POSTGRES).await;
}

/// A damaged session can be ended by its user and by a password change.
#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_session_can_be_ended_in_every_way() {
    for damage in [
        "created_at = 'no date'",
        "user_agent = CAST(x'ff' AS TEXT)",
        "ip = 'nowhere'",
    ] {
        let database = Database::sqlite();
        let server = TestServer::start(&database).await;
        server.register().await;
        for way in 0..3 {
            let password = [PASSWORD, PASSWORD, NEW_PASSWORD][way];
            let own = server
                .client
                .login(EMAIL, PASSWORD)
                .await
                .unwrap()
                .session_id;
            let damaged = server.login().await;
            let handle = damaged.session.unwrap().handle;
            database.execute(&format!(
                "UPDATE sessions SET {damage} WHERE handle = '{handle}'"
            ));
            match way {
                0 => server.client.logout(&damaged.session_id).await.unwrap(),
                1 => {
                    let others = server.client.revoke_other_sessions(&own).await.unwrap();
                    assert_eq!(others, 3, "with those of the previous round");
                }
                _ => {
                    let change = server.client.change_password(&own, PASSWORD, NEW_PASSWORD);
                    change.await.unwrap();
                }
            }
            server.client.expect_no_session(&damaged.session_id).await;
            server.client.login(EMAIL, password).await.unwrap();
        }
    }
}

/// An unreadable mail is logged once with its table and id, and set aside.
#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_mail_is_logged_once() {
    let database = Database::sqlite();
    let folder = tempfile::tempdir().unwrap();
    let outbox = folder.path().join("outbox");
    let setting = format!("--outbox={}", outbox.display());
    let settings = [
        "--bcrypt-cost=4",
        "--database-url",
        database.url(),
        &setting,
    ];
    let process = Process::start(folder.path(), &settings);
    let client = Client::connect(process.address).await;
    client.register(EMAIL, PASSWORD).await.unwrap();
    database.batch(&format!(
        "{UNCHECKED} {MAIL} VALUES ('password_reset', CAST(x'ff' AS TEXT), '2020-01-01 00:00:00',
             '2020-01-01 00:00:00', 0, NULL);
         {MAIL} VALUES ('password_changed', CAST(x'ff' AS TEXT), '2020-01-01 00:00:00',
             '2020-01-01 00:00:00', 0, NULL)"
    ));
    let set_aside = "SELECT CAST(count(*) AS TEXT) FROM outgoing_mails
                     WHERE id = 2 AND due_at > datetime('now', '+23 hours')";
    eventually("the mail is set aside", async || {
        database.text(set_aside) == "1"
    })
    .await;
    client.request_password_reset(EMAIL).await.unwrap();
    eventually("a mail", async || !mails_in(&outbox).is_empty()).await;
    process.signal("TERM");
    let (_, log) = process.wait();
    let lines: Vec<&str> = log
        .lines()
        .filter(|line| line.contains("outgoing_mails"))
        .collect();
    assert_eq!(lines.len(), 1, "{log}");
    assert!(
        lines[0].contains("ERROR") && lines[0].contains("id=2"),
        "{lines:?}"
    );
    assert!(!log.contains("due mail could not be claimed yet"), "{log}");
}
