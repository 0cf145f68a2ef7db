//! Unusable import sources, and unexpected values.

use std::{
    fs::{self, Permissions},
    os::unix::fs::PermissionsExt as _,
    path::Path,
};

use diesel::connection::SimpleConnection as _;
use tempfile::TempDir;

use crate::{
    harness::{
        Database, EMAIL, Process,
        database::server_address,
        database::{connect_postgres, with_database},
        on_each_database,
        process::{Ended, command, run},
    },
    import::{HASH, SourceFile, TABLE, assert_count, blocked_import, import, imported, many},
};

/// Expects a one-line error.
#[track_caller]
fn refused(ended: &Ended, words: &[&str]) {
    assert_eq!(
        (ended.code, ended.output.as_str()),
        (Some(1), ""),
        "{ended:?}"
    );
    assert_eq!(ended.errors.lines().count(), 1, "{}", ended.errors);
    assert!(
        ended.errors.starts_with("bienvenue: cannot "),
        "{}",
        ended.errors
    );
    for word in words {
        assert!(ended.errors.contains(word), "{word}: {}", ended.errors);
    }
    assert!(!ended.errors.contains("hunter2"), "{}", ended.errors);
}

/// Expects a failed import that does not create its target.
#[track_caller]
fn refuses(from: &str, words: &[&str]) {
    for flags in [&[][..], &["--dry-run"]] {
        let into = Database::sqlite();
        refused(&import(from, into.url(), flags), words);
        assert!(!Path::new(into.path()).exists(), "the target was created");
    }
}

/// A flag with a file that holds a password, and the file's temporary folder.
fn password_file() -> (TempDir, String) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("password");
    fs::write(&path, "hunter2\n").unwrap();
    fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
    let flag = format!("--from-password-file={}", path.display());
    (folder, flag)
}

#[test]
fn a_missing_source_is_not_created() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.db");
    let url = format!("sqlite:{}", path.display());
    refuses(&url, &["it does not exist", "--from"]);
    assert!(!path.exists());
}

/// SQLAlchemy's `sqlite:///a.db` is relative to the working directory.
#[test]
fn a_relative_sqlalchemy_path_is_explained() {
    let source = SourceFile::flask("bytes.db");
    let run_there = |from: &str| {
        let mut command = command(source.folder.path());
        let into = Database::sqlite();
        command.args(["import", "--from", from, "--database-url", into.url()]);
        run(command)
    };
    refused(
        &run_there("sqlite:///bytes.db"),
        &[
            "/bytes.db: it does not exist, but bytes.db does",
            "is sqlite:bytes.db here",
        ],
    );
    refused(
        &run_there("sqlite:///other.db"),
        &["/other.db: it does not exist; check --from"],
    );
    imported(run_there("sqlite:bytes.db"), 5);
    imported(run_there(&format!("sqlite://{}", source.path.display())), 5);
}

#[test]
fn a_source_of_another_format_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("notes.txt");
    fs::write(&path, "these are notes, not a database\n".repeat(100)).unwrap();
    let url = |path: &Path| format!("sqlite:{}", path.display());
    refuses(&url(&path), &["not a database", "--from"]);
    refuses(&url(folder.path()), &["cannot be read"]);
    fs::write(&path, "").unwrap();
    refuses(&url(&path), &["no table users"]);
}

#[test]
fn a_source_without_a_users_table_is_refused() {
    let other = SourceFile::from_sql("CREATE TABLE people (id INTEGER PRIMARY KEY, email TEXT)");
    refuses(
        &other.url(),
        &["no table users", "id, email and hashed_password"],
    );
    for column in ["id", "email", "hashed_password"] {
        let rename = format!("ALTER TABLE users RENAME {column} TO other");
        let source = SourceFile::from_sql(&format!("{TABLE}; {rename}"));
        refuses(&source.url(), &[&format!("no column {column};")]);
    }
    let bare = "CREATE TABLE users (ID INTEGER PRIMARY KEY, Email TEXT, hashed_password BLOB)";
    let source = SourceFile::from_sql(&format!(
        "{bare}; INSERT INTO users VALUES (1, '{EMAIL}', CAST('{HASH}' AS BLOB))"
    ));
    imported(import(&source.url(), Database::sqlite().url(), &[]), 1);
    let source = SourceFile::from_sql(&format!("PRAGMA encoding = 'UTF-16'; {TABLE}"));
    refuses(&source.url(), &["UTF-16"]);
}

#[test]
fn a_locked_source_is_reported() {
    let source = SourceFile::flask("bytes.db");
    let mut flask = source.connect();
    flask.batch_execute("BEGIN EXCLUSIVE").unwrap();
    refuses(&source.url(), &["it is locked", "stop the service"]);
    flask.batch_execute("ROLLBACK").unwrap();
    imported(import(&source.url(), Database::sqlite().url(), &[]), 5);
}

on_each_database! {
    async fn a_locked_target_is_reported(database: Database) {
        let url = database.url();
        imported(import(&SourceFile::flask("bytes.db").url(), url, &[]), 5);
        let _sqlite = database.is_sqlite().then(|| {
            let mut other = database.connect_sqlite();
            other.batch_execute("BEGIN IMMEDIATE").unwrap();
            other
        });
        let _postgres = (!database.is_sqlite()).then(|| {
            let mut other = connect_postgres(url);
            other.batch_execute("BEGIN; LOCK TABLE users IN ROW EXCLUSIVE MODE").unwrap();
            other
        });
        let problems = SourceFile::flask("problems.db");
        let ended = import(&problems.url(), url, &["--skip-bad"]);
        refused(&ended, &["it is locked"]);
    }

    /// A target that fails during the import keeps no rows.
    async fn a_failing_target_keeps_no_rows(database: Database) {
        imported(import(&SourceFile::flask("bytes.db").url(), database.url(), &[]), 5);
        let trigger = if database.is_sqlite() {
            "CREATE TRIGGER fails BEFORE INSERT ON users WHEN NEW.id = 4500
             BEGIN SELECT RAISE(ABORT, 'the disk is full'); END"
        } else {
            database.execute(
                "CREATE FUNCTION fails() RETURNS trigger LANGUAGE plpgsql
                 AS $$ BEGIN RAISE 'the disk is full'; END $$"
            );
            "CREATE TRIGGER fails BEFORE INSERT ON users FOR EACH ROW WHEN (NEW.id = 4500)
             EXECUTE FUNCTION fails()"
        };
        database.execute(trigger);
        let source = SourceFile::from_sql(&many(5_000));
        let cut = "DELETE FROM users WHERE id < 10";
        source.connect().batch_execute(cut).unwrap();
        let ended = import(&source.url(), database.url(), &[]);
        assert_eq!((ended.code, ended.output.as_str()), (Some(1), ""), "{ended:?}");
        assert_eq!(ended.errors.lines().count(), 1, "{}", ended.errors);
        for words in ["(the disk is full)", "no user was imported"] {
            assert!(ended.errors.contains(words), "{}", ended.errors);
        }
        assert_eq!(database.text("SELECT CAST(count(*) AS TEXT) FROM users"), "5");
    }
}

/// A source in WAL mode is read with the writes of its running service, without leaving
/// files beside it.
#[test]
fn a_source_in_wal_mode_is_imported() {
    let source = SourceFile::flask("bytes.db");
    source
        .connect()
        .batch_execute("PRAGMA journal_mode = WAL; UPDATE users SET id = 8 WHERE id = 6")
        .unwrap();
    let before = fs::read(&source.path).unwrap();
    let files = || source.folder.path().read_dir().unwrap().count();
    assert_eq!(files(), 1);
    imported(import(&source.url(), Database::sqlite().url(), &[]), 5);
    assert_eq!(files(), 1, "files were left");
    assert!(fs::read(&source.path).unwrap() == before, "it was changed");

    let mut flask = source.connect();
    let row = format!("INSERT INTO users VALUES (9, 'bob+1@example.com', '{HASH}', NULL, NULL)");
    flask.batch_execute(&row).unwrap();
    assert_eq!(files(), 3, "the source is open");
    imported(import(&source.url(), Database::sqlite().url(), &[]), 6);
}

/// A source read without a lock must not change during the import.
#[test]
fn a_source_changed_during_the_import_is_refused() {
    let source = SourceFile::from_sql(&many(10_000));
    source
        .connect()
        .batch_execute(
            "PRAGMA journal_mode = WAL;
             UPDATE users SET hashed_password = 'broken' WHERE id > 5000",
        )
        .unwrap();
    let into = Database::sqlite();
    let (child, _) = blocked_import(&source.url(), into.url());
    let write = "UPDATE users SET session_id = 'x' WHERE id = 1";
    source.connect().batch_execute(write).unwrap();
    let output = child.wait_with_output().unwrap();
    let errors = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{errors}");
    assert!(
        errors.contains("it was written to during the import"),
        "{errors}"
    );
    assert_eq!(into.text("SELECT CAST(count(*) AS TEXT) FROM users"), "0");
}

#[test]
fn the_source_is_not_the_target() {
    let source = SourceFile::flask("bytes.db");
    let link = source.folder.path().join("link.db");
    std::os::unix::fs::symlink(&source.path, &link).unwrap();
    for path in [&source.path, &link] {
        let into = format!("sqlite:{}", path.display());
        for flags in [&[][..], &["--dry-run"]] {
            refused(&import(&source.url(), &into, flags), &["the same database"]);
        }
    }
    // Another service's file is not a target.
    let other = SourceFile::flask("text.db");
    for flags in [&[][..], &["--dry-run"]] {
        let ended = import(&source.url(), &other.url(), flags);
        refused(&ended, &["cannot be migrated", "nothing was changed"]);
    }
    let folder = source.folder.path().join("nowhere/b.db");
    for flags in [&[][..], &["--dry-run"]] {
        let ended = import(
            &source.url(),
            &format!("sqlite:{}", folder.display()),
            flags,
        );
        refused(&ended, &["cannot be created"]);
    }
}

/// SQLite stores values of any type in any column.
#[test]
fn unexpected_values_are_skipped() {
    let table = "CREATE TABLE users (id, email, hashed_password)";
    let source = SourceFile::from_sql(&format!(
        "{table};
         INSERT INTO users VALUES (NULL, 'bob@example.com', '{HASH}');
         INSERT INTO users VALUES ('7', 'bob@example.com', '{HASH}');
         INSERT INTO users VALUES (1.5, 'bob@example.com', '{HASH}');
         INSERT INTO users VALUES (9223372036854775807, 'bob@example.com', '{HASH}');
         INSERT INTO users VALUES (1, x'61FF40', '{HASH}');
         INSERT INTO users VALUES (2, CAST(x'61FF40' AS TEXT), '{HASH}');
         INSERT INTO users VALUES (3, 12, '{HASH}');
         INSERT INTO users VALUES (4, '', '{HASH}');
         INSERT INTO users VALUES (5, 'ada@example.com', x'FF00');
         INSERT INTO users VALUES (6, 'ada@example.com', 12);
         INSERT INTO users VALUES (7, char(27) || '[2J', '{HASH}');
         INSERT INTO users VALUES (8, 'ada@example.com', '{HASH}');
         INSERT INTO users VALUES (8, 'bob@example.com', '{HASH}');
         INSERT INTO users VALUES (9, x'657665406578616D706C652E636F6D', '{HASH}');
         INSERT INTO users VALUES (10, CAST('{EMAIL}' AS BLOB), '{HASH}');
         INSERT INTO users VALUES (11, 'ada@example.com' || printf('%.*c', 1009, 'm'), '{HASH}');
         INSERT INTO users VALUES (12, 'ada@example.com' || printf('%.*c', 1010, 'm'), '{HASH}');
         INSERT INTO users VALUES (13, 'ada@example.com', printf('%.*c', 1024, 'x'));
         INSERT INTO users VALUES (14, 'ada@example.com', printf('%.*c', 1025, 'x'));"
    ));
    let into = Database::sqlite();
    let ended = import(&source.url(), into.url(), &["--skip-bad"]);
    assert_count(&ended, 17, "left out");
    for line in [
        "row 1, \"bob@example.com\": its id",
        "row 3, \"bob@example.com\": its id",
        "row 19, \"bob@example.com\": its id",
        "row 2, id 1: its e-mail is not a text",
        "row 4, id 2: its e-mail is not a text",
        "row 5, id 3, \"12\": its e-mail is not an address",
        "row 6, id 4, \"\": it has no e-mail",
        "row 7, id 5, \"ada@example.com\": its hashed_password cannot be used",
        "row 8, id 6, \"ada@example.com\": its hashed_password cannot be used",
        "row 9, id 7, \"\\u{1b}[2J\": its e-mail is not an address",
        "row 11, id 8, \"bob@example.com\": the row before it has the same id",
        "row 13, id 10, \"ada@example.com\": it has the same address as id 8",
        "row 14, id 11, \"ada@example.commmm",
        "row 15, id 12: its e-mail is too long",
        "row 16, id 13, \"ada@example.com\": its hashed_password cannot be used",
        "row 17, id 14, \"ada@example.com\": its hashed_password is too long",
        "row 18, id 9223372036854775807, \"bob@example.com\": its id",
    ] {
        assert!(ended.output.contains(line), "{line}: {}", ended.output);
    }
    imported(ended, 2);
    assert_eq!(into.text("SELECT email FROM users WHERE id = 8"), EMAIL);
    // A BLOB of valid UTF-8 is a text.
    let eve = into.text("SELECT email FROM users WHERE id = 9");
    assert_eq!(eve, "eve@example.com");
}

/// The sessions of a server on the target stay open.
#[test]
fn an_import_into_a_served_database() {
    let folder = tempfile::tempdir().unwrap();
    let _process = Process::start(folder.path(), &[]);
    let into = format!("sqlite:{}", folder.path().join("bienvenue.db").display());
    let source = SourceFile::flask("bytes.db");
    let ended = import(&source.url(), &into, &["--dry-run"]);
    assert_count(&ended, 5, "can be imported");
    imported(import(&source.url(), &into, &[]), 5);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unusable_postgres_source_is_refused() {
    let Some(source) = Database::postgres().await else {
        return;
    };
    refuses(source.url(), &["no table users"]);
    refuses(
        &with_database(source.url(), "nobody_made_this"),
        &["does not exist", "--from"],
    );
    let (_folder, password) = password_file();
    let into = Database::sqlite();
    let ended = import("postgres://ada@127.0.0.1:1/b", into.url(), &[&password]);
    refused(&ended, &["cannot be read"]);
    source.execute("CREATE TABLE users (id INTEGER PRIMARY KEY, hashed_password TEXT)");
    refuses(source.url(), &["no column email;"]);
    source.execute("ALTER TABLE users ADD email BYTEA");
    refuses(
        source.url(),
        &["its column email has the type bytea; an import needs a text"],
    );
    source.execute("ALTER TABLE users ALTER email TYPE TEXT USING 'x'");
    source.execute("ALTER TABLE users ALTER id TYPE DOUBLE PRECISION");
    refuses(
        source.url(),
        &["its column id has the type double precision; an import needs a whole number, a UUID"],
    );
    source.execute("ALTER TABLE users ALTER id TYPE SMALLINT USING id::smallint");
    imported(import(source.url(), Database::sqlite().url(), &[]), 0);

    for flags in [&[][..], &["--dry-run"]] {
        let ended = import(source.url(), source.url(), flags);
        refused(&ended, &["the same database"]);
    }
    let mut locker = connect_postgres(source.url());
    locker
        .batch_execute("BEGIN; LOCK TABLE users IN ACCESS EXCLUSIVE MODE")
        .unwrap();
    refuses(source.url(), &["it is locked"]);
}

/// On some servers, few may query the server's identity.
#[tokio::test(flavor = "multi_thread")]
async fn a_postgres_without_an_identity_is_imported() {
    let (Some(source), Some(into)) = (Database::postgres().await, Database::postgres().await)
    else {
        return;
    };
    let name = source.text("current_database()::text");
    let reader = format!("{name}_reader");
    source.batch(&format!(
        "CREATE TABLE users (id INTEGER PRIMARY KEY, email CHAR(2000), hashed_password CHAR(2000));
         INSERT INTO users VALUES (7, '{EMAIL}', '{HASH}');
         CREATE ROLE {reader} LOGIN PASSWORD 'hunter2';
         GRANT SELECT ON users TO {reader};
         REVOKE EXECUTE ON FUNCTION pg_control_system() FROM PUBLIC"
    ));
    let server = server_address(source.url());
    let url = format!("postgres://{reader}@{server}/{name}");
    let (_folder, password) = password_file();
    let ended = import(&url, into.url(), &[&password]);
    source.batch(&format!("DROP OWNED BY {reader}; DROP ROLE {reader}"));
    imported(ended, 1);
}
