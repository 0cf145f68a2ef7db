//! Importing from hostile sources.

use std::{path::Path, process::Command};

use diesel::connection::SimpleConnection as _;

use crate::{
    harness::{
        Database, EMAIL,
        process::{Ended, run},
    },
    import::{HASH, SourceFile, TABLE, assert_count, import, imported},
};

/// The size of an unexpectedly long value.
const LONG_BYTES: usize = 32 << 20;

/// Three times the need of an import, and less than that plus two such values.
const MAX_BYTES: usize = 48 << 20;

const INSERT: &str = "INSERT INTO users (id, email, hashed_password) VALUES";

/// Runs the import with limited memory.
fn import_in_little_memory(from: &str, into: &str) -> Ended {
    let mut command = Command::new("prlimit");
    command
        .arg(format!("--data={MAX_BYTES}"))
        .arg(env!("CARGO_BIN_EXE_bienvenue"))
        .args(["import", "--skip-bad", "--from", from])
        .args(["--database-url", into])
        .current_dir(Path::new("/"))
        .env_clear();
    run(command)
}

/// Expects an import that skips the long values.
#[track_caller]
fn skips_long_values(from: &str) {
    let into = Database::sqlite();
    let ended = import_in_little_memory(from, into.url());
    let lines: Vec<&str> = ended.output.lines().take(3).collect();
    let expected = [
        "row 1, id 1: its e-mail is too long: at most 254 bytes, 64 of them before the @",
        "row 2, id 2, \"bob@example.com\": its hashed_password is too long for a hash; let its \
         owner set a new password there, or delete the row",
        "",
    ];
    assert_eq!(lines, expected, "{ended:?}");
    assert_count(&ended, 2, "left out");
    imported(ended, 1);
    assert_eq!(into.text("SELECT email FROM users WHERE id = 3"), EMAIL);
}

#[test]
fn memory_does_not_grow_with_values_in_sqlite() {
    let source = SourceFile::from_sql(&format!(
        "PRAGMA journal_mode = OFF; {TABLE};
         {INSERT} (1, printf('%.*c', {LONG_BYTES}, 'a'), '{HASH}'),
                (2, 'bob@example.com', zeroblob({LONG_BYTES})),
                (3, '{EMAIL}', '{HASH}')"
    ));
    skips_long_values(&source.url());
}

#[tokio::test(flavor = "multi_thread")]
async fn memory_does_not_grow_with_values_in_postgres() {
    for kind in ["TEXT", "BYTEA"] {
        let Some(source) = Database::postgres().await else {
            return;
        };
        source.batch(&format!(
            "CREATE TABLE users (id INTEGER PRIMARY KEY, email TEXT, hashed_password {kind});
             {INSERT} (1, repeat('a', {LONG_BYTES}), '{HASH}'),
                    (2, 'bob@example.com', repeat('a', {LONG_BYTES})::{kind}),
                    (3, '{EMAIL}', '{HASH}')"
        ));
        skips_long_values(source.url());
    }
}

/// Expects an error without terminal control characters.
#[track_caller]
fn refused_escaped(from: &str, words: &str) {
    let into = Database::sqlite();
    let ended = import(from, into.url(), &[]);
    assert_eq!((ended.code, ended.output.as_str()), (Some(1), ""));
    let line = ended.errors.strip_suffix('\n').unwrap_or_default();
    assert!(line.contains(words), "{line}");
    assert!(
        !line.contains(|c: char| c.is_control() || c == '\u{202E}'),
        "{line:?}"
    );
}

/// A name that clears the screen, rings the bell, and reverses the text after it.
const NAME: &str = "\u{1B}[2J\u{7}\u{9B}31m\u{202E}";
const ESCAPED_NAME: &str = r"\u{1b}[2J\u{7}\u{9b}31m\u{202e}";

#[test]
fn errors_of_sqlite_are_escaped() {
    let source = SourceFile::from_sql(TABLE);
    source
        .connect()
        .batch_execute(&format!(
            "CREATE TABLE \"{NAME}\" (x); PRAGMA writable_schema = ON;
             UPDATE sqlite_schema SET sql = 'x' WHERE name <> 'users'"
        ))
        .unwrap();
    refused_escaped(&source.url(), &format!("schema ({ESCAPED_NAME})"));

    let long = "x".repeat(5_000);
    let source = SourceFile::from_sql(&format!(
        "CREATE VIEW users AS SELECT 1 AS id, 2 AS email, 3 AS hashed_password FROM {long}"
    ));
    let ended = import(&source.url(), Database::sqlite().url(), &[]);
    assert_eq!(ended.code, Some(1), "{ended:?}");
    assert!(ended.errors.contains("…)"), "{ended:?}");
    assert!(ended.errors.len() < 600, "{ended:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn errors_of_postgres_are_escaped() {
    let Some(source) = Database::postgres().await else {
        return;
    };
    source.batch(&format!(
        "CREATE TYPE \"{NAME}\" AS ENUM ('x');
         CREATE TABLE users (id INTEGER, email \"{NAME}\", hashed_password TEXT)"
    ));
    refused_escaped(
        source.url(),
        &format!("its column email has the type \"{ESCAPED_NAME}\"; an import needs a text"),
    );
    source.batch(&format!(
        "DROP TABLE users;
         CREATE FUNCTION fails() RETURNS text LANGUAGE plpgsql
             AS $$ BEGIN RAISE '{NAME}'; END $$;
         CREATE VIEW users AS SELECT 1 AS id, fails() AS email, 'x'::text AS hashed_password"
    ));
    refused_escaped(source.url(), &format!("({ESCAPED_NAME})"));
}
