//! Importing users of a Flask service; its files are in `tests/fixtures/flask`.

use std::{
    fs,
    io::{BufRead as _, BufReader},
    path::{Path, PathBuf},
    process::Child,
};

use diesel::{
    Connection as _, RunQueryDsl as _, SqliteConnection, connection::SimpleConnection as _,
};
use tempfile::TempDir;
use tonic::Code;

use crate::harness::{
    Database, EMAIL, Expect as _, PASSWORD, TestServer, on_each_database,
    process::{Ended, command, run},
};

/// The users of `bytes.db` and `text.db`, registered by `make.py`: id, e-mail and password.
const USERS: [(i64, &str, &str); 5] = [
    (1, "ada@example.com", "correct horse battery"),
    (2, "Bob@Example.com", "hunter2 hunter2"),
    (3, "eve@example.com", "p\u{E4}ssw\u{F6}rt \u{2713}"),
    (
        4,
        "ada+tag@example.com",
        "pppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppp",
    ),
    (6, "ada@b\u{FC}cher.example", "short"),
];

/// As created by SQLAlchemy.
pub const TABLE: &str = "CREATE TABLE users (id INTEGER NOT NULL, email VARCHAR(250),
    hashed_password VARCHAR(250), session_id VARCHAR(250), reset_token VARCHAR(250),
    PRIMARY KEY (id))";

/// A valid hash of [`PASSWORD`].
pub const HASH: &str = "$2b$04$......................yqKybrYN1gfi6yNZruor7MV8yF80Yo.";

/// An SQLite file in a temporary folder.
pub struct SourceFile {
    pub folder: TempDir,
    pub path: PathBuf,
}

impl SourceFile {
    /// A copy of a file written by the Flask service.
    pub fn flask(name: &str) -> Self {
        let file = Self::at(name);
        let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/flask");
        fs::copy(fixtures.join(name), &file.path).unwrap();
        file
    }

    /// A file created by SQL statements.
    pub fn from_sql(sql: &str) -> Self {
        let file = Self::at("a.db");
        file.connect().batch_execute(sql).unwrap();
        file
    }

    fn at(name: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(name);
        Self { folder, path }
    }

    pub fn connect(&self) -> SqliteConnection {
        SqliteConnection::establish(self.path.to_str().unwrap()).unwrap()
    }

    pub fn url(&self) -> String {
        format!("sqlite:{}", self.path.display())
    }
}

/// Runs the command to its end.
pub fn import(from: &str, into: &str, flags: &[&str]) -> Ended {
    let folder = tempfile::tempdir().unwrap();
    let mut command = command(folder.path());
    command
        .args(["import", "--from", from, "--database-url", into])
        .args(flags);
    let ended = run(command);
    assert_eq!(folder.path().read_dir().unwrap().count(), 0, "{ended:?}");
    ended
}

/// Expects a successful import; returns its output.
#[track_caller]
pub fn imported(ended: Ended, users: usize) -> String {
    assert_eq!(
        (ended.code, ended.errors.as_str()),
        (Some(0), ""),
        "{ended:?}"
    );
    assert_count(&ended, users, "imported");
    ended.output
}

/// Expects a line of the summary.
#[track_caller]
pub fn assert_count(ended: &Ended, count: usize, what: &str) {
    let line = format!("{count:>10}  {what}");
    assert!(ended.output.lines().any(|found| found == line), "{ended:?}");
}

/// The Flask service's users on PostgreSQL, with hashes in a column of this type.
async fn on_postgres(column: &str) -> Option<Database> {
    #[derive(diesel::QueryableByName)]
    struct Values {
        #[diesel(sql_type = diesel::sql_types::Text)]
        texts: String,
    }
    let database = Database::postgres().await?;
    let values: Values = diesel::sql_query(
        "SELECT group_concat(printf('(%d, %Q, %Q)', id, email, hashed_password)) AS texts
         FROM users",
    )
    .get_result(&mut SourceFile::flask("text.db").connect())
    .unwrap();
    database.execute(&format!(
        "CREATE TABLE users (id SERIAL PRIMARY KEY, email VARCHAR(250) NOT NULL,
             hashed_password {column} NOT NULL)"
    ));
    database.execute(&format!(
        "INSERT INTO users (id, email, hashed_password) VALUES {}",
        values.texts
    ));
    Some(database)
}

/// Imports the Flask service's users; each logs in with the former password, under the former
/// id.
async fn imports_all(from: &str, database: &Database) {
    let output = imported(import(from, database.url(), &[]), USERS.len());
    assert!(output.contains("have to log in again"), "{output}");
    let server = TestServer::start(database).await;
    for (id, email, password) in USERS {
        let login = server.client.login(email, password).await.unwrap();
        let user = login.user.unwrap();
        let canonical = match id {
            6 => "ada@xn--bcher-kva.example".to_owned(),
            _ => email.to_lowercase(),
        };
        assert_eq!((user.id, user.email), (id, canonical));
        assert!(user.created_at.unwrap().seconds > 1_700_000_000);
        let refusal = server.client.login(email, &format!("{password}!")).await;
        refusal.expect_refusal(Code::Unauthenticated, "INVALID_CREDENTIALS");
    }
    // The next user gets a new id.
    let next = server.client.register("bob+1@example.com", PASSWORD).await;
    assert_eq!(next.unwrap().id, 7);
}

/// Starts an import with so many bad rows that its unread output blocks it; returns it with
/// the first line.
pub fn blocked_import(from: &str, into: &str) -> (Child, String) {
    let mut command = command(Path::new("/"));
    command.args([
        "import",
        "--skip-bad",
        "--from",
        from,
        "--database-url",
        into,
    ]);
    let mut child = command.spawn().unwrap();
    let mut line = String::new();
    let output = child.stdout.as_mut().unwrap();
    BufReader::new(output).read_line(&mut line).unwrap();
    (child, line)
}

fn users(database: &Database) -> String {
    let texts = "CAST(id AS TEXT) || ' ' || email || ' ' || hashed_password";
    let all = if database.is_sqlite() {
        format!("SELECT group_concat({texts}, ', ') FROM (SELECT * FROM users ORDER BY id)")
    } else {
        format!("SELECT string_agg({texts}, ', ' ORDER BY id) FROM users")
    };
    database.text(&format!("COALESCE(({all}), '')"))
}

/// A large table of users, with e-mails in another order than ids.
pub fn many(rows: usize) -> String {
    format!(
        "{TABLE};
         WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {rows})
         INSERT INTO users
         SELECT i, printf('%d.%d@example.com', i * 7919 % 1000, i), '{HASH}', NULL, NULL FROM n;"
    )
}

on_each_database! {
    async fn blobs_in_sqlite_are_imported(database: Database) {
        let source = SourceFile::flask("bytes.db");
        let before = fs::read(&source.path).unwrap();
        imports_all(&source.url(), &database).await;
        assert!(fs::read(&source.path).unwrap() == before, "the source was changed");
        assert_eq!(source.folder.path().read_dir().unwrap().count(), 1);
    }

    async fn text_in_sqlite_is_imported(database: Database) {
        imports_all(&SourceFile::flask("text.db").url(), &database).await;
    }

    async fn text_in_postgres_is_imported(database: Database) {
        if let Some(source) = on_postgres("VARCHAR(250)").await {
            imports_all(source.url(), &database).await;
        }
    }

    async fn bytes_in_postgres_are_imported(database: Database) {
        let column = "BYTEA";
        if let Some(source) = on_postgres("TEXT").await {
            source.execute(&format!(
                "ALTER TABLE users ALTER hashed_password TYPE {column}
                     USING convert_to(hashed_password, 'UTF8')"
            ));
            imports_all(source.url(), &database).await;
        }
    }

    /// A dry run reports the result and writes nothing.
    async fn a_dry_run_writes_nothing(database: Database) {
        let source = SourceFile::flask("bytes.db");
        let ended = import(&source.url(), database.url(), &["--dry-run"]);
        assert_eq!(ended.code, Some(0), "{ended:?}");
        assert_count(&ended, 5, "can be imported");
        if database.is_sqlite() {
            assert!(!Path::new(database.path()).exists());
        } else {
            assert_eq!(database.text("COALESCE(to_regclass('users')::text, 'none')"), "none");
        }
        let problems = SourceFile::flask("problems.db");
        let ended = import(&problems.url(), database.url(), &["--dry-run"]);
        assert_eq!(ended.code, Some(1), "{ended:?}");
        assert!(ended.output.contains("no user was imported"), "{ended:?}");

        // With existing users, the counts are those of the real run.
        let server = TestServer::start(&database).await;
        server.register().await;
        server.stop().await;
        let before = users(&database);
        let ended = import(&source.url(), database.url(), &["--dry-run"]);
        assert_eq!(ended.code, Some(0), "{ended:?}");
        assert_count(&ended, 4, "can be imported");
        assert_count(&ended, 1, "existing already, left unchanged");
        assert_eq!(users(&database), before);
        let ended = import(&source.url(), database.url(), &[]);
        assert_count(&ended, 1, "existing already, left unchanged");
        imported(ended, 4);
    }

    /// Invalid rows prevent the import, unless they are skipped.
    async fn bad_rows_are_listed_with_their_reasons(database: Database) {
        let source = SourceFile::flask("problems.db");
        let list = |ended: &Ended| -> Vec<String> {
            let lines = ended.output.lines();
            lines.take_while(|line| !line.is_empty()).map(str::to_owned).collect()
        };
        let refused = import(&source.url(), database.url(), &[]);
        assert_eq!((refused.code, refused.errors.as_str()), (Some(1), ""));
        assert_eq!(users(&database), "");
        assert_count(&refused, 9, "rows read");
        assert_count(&refused, 2, "can be imported");
        assert_count(&refused, 7, "cannot be imported");
        assert!(!refused.output.contains("plain text password"), "a secret");
        let expected = [
            ("row 1, id -8, \"ada+2@example.com\": ", "id is not a whole number from 1"),
            ("row 3, id 2, \"ADA@Example.com\": ", "the same address as id 1;"),
            ("row 4, id 3: ", "it has no e-mail"),
            ("row 5, id 4, \"not-an-address\": ", "not an address: write it as"),
            ("row 6, id 5, \"bob@example.com\": ", "hashed_password cannot be used"),
            ("row 7, id 6, \"eve@example.com\": ", "hashed_password cannot be used"),
            ("row 8, id 7, \"ada+1@example.com\": ", "it has no hashed_password"),
        ];
        let listed = list(&refused);
        assert_eq!(listed.len(), expected.len(), "{listed:#?}");
        for (line, (row, reason)) in listed.iter().zip(expected) {
            assert!(line.starts_with(row) && line.contains(reason), "{line}");
        }

        let dry = import(&source.url(), database.url(), &["--skip-bad", "--dry-run"]);
        assert_eq!((dry.code, list(&dry)), (Some(0), listed.clone()));
        assert_eq!(users(&database), "");
        let skipped = import(&source.url(), database.url(), &["--skip-bad"]);
        assert_count(&skipped, 7, "left out");
        assert_eq!(list(&skipped), listed);
        imported(skipped, 2);
        let there = users(&database);
        // A second run changes nothing, and its list is the same.
        let again = import(&source.url(), database.url(), &["--skip-bad"]);
        assert_count(&again, 2, "existing already, left unchanged");
        assert_eq!((list(&again), users(&database)), (listed, there));
        imported(again, 0);
    }

    /// Existing users are not changed.
    async fn existing_users_are_kept(database: Database) {
        let server = TestServer::start(&database).await;
        assert_eq!(server.register().await.id, 1);
        let eve = server.client.register("eve@example.com", PASSWORD).await;
        assert_eq!(eve.unwrap().id, 2);
        let before = users(&database);
        let source = SourceFile::flask("text.db");
        let ended = import(&source.url(), database.url(), &[]);
        assert_eq!(ended.code, Some(1), "{ended:?}");
        for line in [
            "row 2, id 2, \"Bob@Example.com\": its id belongs to \"eve@example.com\"",
            "row 3, id 3, \"eve@example.com\": its address belongs to id 2 ",
        ] {
            assert!(ended.output.contains(line), "{line} {ended:?}");
        }
        assert_eq!(users(&database), before);
        imported(import(&source.url(), database.url(), &["--skip-bad"]), 2);
        assert!(users(&database).starts_with(&before));
        // With the target's password, not the source's.
        server.client.login(EMAIL, PASSWORD).await.unwrap();
        server.client.login("ada@b\u{FC}cher.example", "short").await.unwrap();
    }

    /// A deleted user's id is not used again.
    async fn ids_are_not_reused(database: Database) {
        let server = TestServer::start(&database).await;
        for email in [EMAIL, "bob@example.com", "eve@example.com"] {
            server.client.register(email, PASSWORD).await.unwrap();
        }
        database.execute("DELETE FROM users");
        let row = format!("INSERT INTO users VALUES (1, '{EMAIL}', '{HASH}', NULL, NULL)");
        let source = SourceFile::from_sql(&format!("{TABLE}; {row}"));
        imported(import(&source.url(), database.url(), &[]), 1);
        let next = server.client.register("bob@example.com", PASSWORD).await;
        assert_eq!(next.unwrap().id, 4);
    }

    /// With several batches, each row is imported once, and duplicates are found across batches.
    async fn many_rows_are_imported(database: Database) {
        let source = SourceFile::from_sql(&many(20_000));
        let last = "INSERT INTO users
            SELECT 30000, '919.1@EXAMPLE.com', hashed_password, NULL, NULL FROM users WHERE id = 1";
        source.connect().batch_execute(last).unwrap();
        let ended = import(&source.url(), database.url(), &[]);
        assert_eq!(ended.code, Some(1), "{}", ended.errors);
        assert!(ended.output.contains("the same address as id 1;"), "{ended:?}");
        assert_eq!(users(&database), "");
        let ended = import(&source.url(), database.url(), &["--skip-bad"]);
        imported(ended, 20_000);
        let sum = database.text("SELECT CAST(sum(id) AS TEXT) FROM users");
        assert_eq!(sum, (20_000 * 20_001 / 2).to_string());
        let again = import(&source.url(), database.url(), &["--skip-bad"]);
        assert_count(&again, 20_000, "existing already, left unchanged");
        let server = TestServer::start(&database).await;
        let next = server.client.register(EMAIL, PASSWORD).await;
        assert_eq!(next.unwrap().id, 20_001);

        // And from there into a database of the other kind.
        let other = if database.is_sqlite() {
            Database::postgres().await
        } else {
            Some(Database::sqlite())
        };
        if let Some(other) = other {
            imported(import(database.url(), other.url(), &[]), 20_001);
            assert_eq!(users(&other), users(&database));
        }
    }

    /// An import killed in progress leaves no rows.
    async fn a_killed_import_leaves_no_rows(database: Database) {
        let source = SourceFile::from_sql(&many(10_000));
        let bad = "UPDATE users SET hashed_password = 'broken' WHERE id > 5000";
        source.connect().batch_execute(bad).unwrap();
        let (mut child, line) = blocked_import(&source.url(), database.url());
        assert!(line.starts_with("row 5001,"), "{line}");
        assert_eq!(child.try_wait().unwrap(), None, "the import is in progress");
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(users(&database), "");
        imported(import(&source.url(), database.url(), &["--skip-bad"]), 5_000);
    }
}
