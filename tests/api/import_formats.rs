//! Importing without losing users: unusable passwords, tables of other names, ids other than
//! numbers, and hashes with a pepper.

use std::{
    fs::{self, Permissions},
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use tempfile::TempDir;
use tonic::Code;

use crate::{
    harness::{
        Database, EMAIL, Expect as _, NEW_PASSWORD, PASSWORD, Process, TestServer,
        foreign_hashes::FOREIGN_PASSWORD, on_each_database, process::Ended, server::Client,
    },
    import::{HASH, SourceFile, TABLE, assert_count, import, imported},
};

/// Unusable passwords, as services leave them.
const UNUSABLE: [&str; 7] = [
    "NULL",
    "''",
    "'!DjangosUnusablePassword0123456789abcdefgh'",
    "'$P$BEMEtEjOZqXXu.WnRFQbBNyHrkHgWk0'",
    "'$6$rounds=5000$saltsaltsalt$nothing.that.we.compute'",
    "'plain text password'",
    // A bcrypt cost of 31.
    "'$2b$31$......................yqKybrYN1gfi6yNZruor7MV8yF80Yo.'",
];

/// Hashes of [`FOREIGN_PASSWORD`] by the real programs; from the vectors in
/// `src/passwords/stored/vectors.rs`.
const NEW_FORMATS: [&str; 7] = [
    "$wp$2y$04$LbWhAss6PWvHjkhA7sAHJedeF.Nbqb0GgVc3WPxmt7M1R.w/6ZoY2",
    "pbkdf2:sha512:10$qVHKdyUibisQGJRW$18850c53fa032ab13fef63938eab146f666bf33ded555129dde39b63ed8cdb3f21b2d0f95d676e41bf70c7b5bbb155d16b15bb779c939a7c9e7a783ccabbfd9d",
    "pbkdf2:sha1:10$ee1KfzQ73iLPQtYG$8a4bd7a3a62afafeadd46b41f2cdd1f56118b1b4",
    "pbkdf2_sha1$7$nPrSZqWqtrXfS2BNqIA24e$uNIAGF03RTF+ImYmV+KSiSHQwP0=",
    "scrypt$16$BLklb8vBqWNSU2QfULpzAS$2$3$a/OhcjZ/AUPX2EKIXN1/VEFR11XDUd65wAb/xSYDb2zVXDmF7HnTE0c6+rYK6AN2ZD5owyPe8VbnqrFGBP6uFQ==",
    "$pbkdf2-sha256$7$.v9/j5Gydk4pxfg/J2TsPQ$IZzpheQIuL8wjcde9zG1CnSyUPZEHnXkaoxGgj1FQyE",
    "$pbkdf2-sha512$7$mhPivBeCcM4ZYwyhlNL6Hw$Nw65EbCpbeZQsDvl8IUrvI15gvOaQv2Eqcon4gAU8JFR9vsSZMDt2i.3OHx4ADzODItqivTWrIDw31QHOUHxqg",
];

/// The same by Flask-Security and Devise, with their secrets.
const FLASK_SECURITY: [&str; 2] = [
    "$2b$04$II.E.RByJaxd0Ly805tMme7aGRnJri7mmw62kei4JY1fY7eDQXY0S",
    "$pbkdf2-sha512$7$6J2TMiaE0JqzNoZQivE.Rw$6eFDeCNkdRFRMiFrXBzB2fwykyn6jF2N5aes0H6lSQqy2c6cthDSqMtvwIT2NMHqcphCLG4junZHtLAfyYr9uw",
];
const FLASK_SECRET: &str = "146585145368132386173505678016728509634";
const DEVISE: &str = "$2a$04$s.Eirs.ZK2Xi93vJRi2Zj.Ts8tRct2UUyUVDVU4BeqY8HpzvrOL3K";
const DEVISE_SECRET: &str = "4d2f8a9c0b1e6f7a3c5d8e9f0a1b2c3d4e5f60718293a4b5c6d7e8f9012345678";

/// A file with a secret, in a temporary folder.
struct SecretFile {
    _folder: TempDir,
    path: PathBuf,
}

impl SecretFile {
    fn new(secret: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pepper");
        fs::write(&path, format!("{secret}\n")).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
        Self {
            _folder: folder,
            path,
        }
    }

    fn flag(&self) -> String {
        format!("--pepper-file={}", self.path.display())
    }
}

fn row(id: usize, email: &str, hash: &str) -> String {
    format!("INSERT INTO users VALUES ({id}, '{email}', {hash}, NULL, NULL);")
}

fn stored(database: &Database, email: &str) -> String {
    let sql = format!("SELECT hashed_password FROM users WHERE email = '{email}'");
    database.text(&sql)
}

async fn refused(client: &Client, email: &str, password: &str) {
    let refusal = client.login(email, password).await;
    refusal.expect_refusal(Code::Unauthenticated, "INVALID_CREDENTIALS");
}

#[track_caller]
fn assert_output_contains(ended: &Ended, words: &str) {
    // The summary is wrapped.
    let output = ended
        .output
        .split_whitespace()
        .collect::<Vec<_>>()
        .join(" ");
    assert!(output.contains(words), "{words}: {output}");
}

on_each_database! {
    /// Users without a usable password set one by mail, and look like other users until then.
    async fn users_without_a_password_are_imported(database: Database) {
        let mut rows = row(1, EMAIL, &format!("'{HASH}'"));
        for (n, hash) in UNUSABLE.iter().enumerate() {
            rows.push_str(&row(n + 2, &format!("u{n}@example.com"), hash));
        }
        rows.push_str(&row(20, "not-an-address", "NULL"));
        let source = SourceFile::from_sql(&format!("{TABLE}; {rows}"));

        // Without the flag they are skipped, and the summary names the flag.
        let ended = import(&source.url(), database.url(), &[]);
        assert_eq!(ended.code, Some(1), "{ended:?}");
        assert_count(&ended, 8, "cannot be imported");
        assert_output_contains(&ended, "7 rows that cannot be imported have only an invalid password: \
                      --without-password imports such users without one");
        let flags = ["--without-password", "--skip-bad"];
        let dry = import(&source.url(), database.url(), &[&flags[..], &["--dry-run"]].concat());
        assert_count(&dry, 8, "can be imported");
        assert_count(&dry, 7, "of those can be imported: without a password");

        let ended = import(&source.url(), database.url(), &flags);
        assert_count(&ended, 1, "left out");
        assert_count(&ended, 7, "of those imported: without a password");
        assert_output_contains(&ended, "7 users without a password cannot log in until they request a reset");
        imported(ended, 8);
        let again = import(&source.url(), database.url(), &flags);
        assert_count(&again, 8, "existing already, left unchanged");

        let server = TestServer::start(&database).await;
        server.client.login(EMAIL, PASSWORD).await.unwrap();
        let unknown = server.client.login("unknown@example.com", PASSWORD).await.unwrap_err();
        for n in 0..UNUSABLE.len() {
            let email = format!("u{n}@example.com");
            assert_eq!(stored(&database, &email), "!");
            for password in [PASSWORD, "!", "plain text password", &stored(&database, EMAIL)] {
                let refusal = server.client.login(&email, password).await.unwrap_err();
                assert_eq!(refusal.message(), unknown.message());
                assert_eq!(refusal.details(), unknown.details());
            }
            let taken = server.client.register(&email, PASSWORD).await;
            taken.expect_refusal(Code::AlreadyExists, "EMAIL_TAKEN");
        }
        server.client.request_password_reset("u3@example.com").await.unwrap();
        let mail = server.outbox.next().await;
        assert_eq!(mail.only_recipient(), "u3@example.com");
        server.client.reset_password(&mail.reset_token(), NEW_PASSWORD).await.unwrap();
        let login = server.client.login("u3@example.com", NEW_PASSWORD).await.unwrap();
        assert_eq!(login.user.unwrap().id, 5);
        refused(&server.client, "u4@example.com", NEW_PASSWORD).await;
    }

    /// Their logins are not logged as faults.
    async fn a_login_without_a_password_is_no_fault(database: Database) {
        let source = SourceFile::from_sql(&format!("{TABLE}; {}", row(1, EMAIL, "NULL")));
        imported(import(&source.url(), database.url(), &["--without-password"]), 1);
        let folder = tempfile::tempdir().unwrap();
        let settings = ["--bcrypt-cost=4", "--database-url", database.url()];
        let process = Process::start(folder.path(), &settings);
        let client = Client::connect(process.address).await;
        refused(&client, EMAIL, PASSWORD).await;
        process.signal("TERM");
        let (_, log) = process.wait();
        assert!(!log.contains("cannot be used") && !log.contains("ERROR"), "{log}");
    }

    async fn white_space_around_a_hash_is_trimmed(database: Database) {
        let padded = format!("'  {HASH}' || char(13, 10)");
        let source = SourceFile::from_sql(&format!("{TABLE}; {}", row(1, EMAIL, &padded)));
        imported(import(&source.url(), database.url(), &[]), 1);
        assert_eq!(stored(&database, EMAIL), HASH);
        let server = TestServer::start(&database).await;
        server.client.login(EMAIL, PASSWORD).await.unwrap();
    }

    /// The formats of other programs, from the import to the service's own hash.
    async fn more_formats_verify(database: Database) {
        let rows: String = NEW_FORMATS
            .iter()
            .enumerate()
            .map(|(n, hash)| row(n + 1, &format!("u{n}@example.com"), &format!("'{hash}'")))
            .collect();
        let source = SourceFile::from_sql(&format!("{TABLE}; {rows}"));
        imported(import(&source.url(), database.url(), &[]), NEW_FORMATS.len());
        let server = TestServer::start(&database).await;
        for (n, hash) in NEW_FORMATS.iter().enumerate() {
            let email = format!("u{n}@example.com");
            refused(&server.client, &email, "correct-Horse 7!").await;
            assert_eq!(stored(&database, &email), *hash);
            server.client.login(&email, FOREIGN_PASSWORD).await.unwrap();
            let ours = stored(&database, &email);
            assert!(ours.starts_with("$2b$04$"), "{hash} became {ours}");
            server.client.login(&email, FOREIGN_PASSWORD).await.unwrap();
        }
    }

    /// Flask-Security's table is named user, and its hashes are of an HMAC.
    async fn flask_security_is_imported_with_its_secret(database: Database) {
        let table = "CREATE TABLE user (id INTEGER PRIMARY KEY, email VARCHAR(255),
            password VARCHAR(255), active BOOLEAN, fs_uniquifier VARCHAR(64))";
        let rows: String = FLASK_SECURITY
            .iter()
            .enumerate()
            .map(|(n, hash)| {
                format!("INSERT INTO user VALUES ({}, 'u{n}@example.com', '{hash}', 1, '{n}');", n + 1)
            })
            .collect();
        let source = SourceFile::from_sql(&format!("{table}; {rows}"));
        let columns = ["--table=user", "--columns=hashed_password=password"];

        // Without the secret, the summary has a hint from the columns.
        let dry = import(&source.url(), database.url(), &[&columns[..], &["--dry-run"]].concat());
        assert_count(&dry, 2, "can be imported");
        assert_output_contains(&dry, "Flask-Security created this table. It mixes a secret (SECURITY_PASSWORD_SALT)");
        assert_output_contains(&dry, "these users cannot log in. Import them with --pepper=flask-security");

        let secret = SecretFile::new(FLASK_SECRET);
        let flag = secret.flag();
        let flags = [&columns[..], &["--pepper=flask-security", &flag]].concat();
        let ended = import(&source.url(), database.url(), &flags);
        assert!(!ended.output.contains("these users cannot log in"), "{ended:?}");
        assert_output_contains(&ended, "bienvenue serve, with the same --database-url and --pepper-file.");
        imported(ended, 2);
        logs_in_with_the_secret(&database, &["u0@example.com", "u1@example.com"], "flask-security", &secret).await;
    }

    /// Devise's column is named encrypted_password, and its pepper follows the password.
    async fn devise_is_imported_with_its_secret(database: Database) {
        let source = SourceFile::from_sql(&format!(
            "CREATE TABLE users (id INTEGER PRIMARY KEY, email VARCHAR,
                 encrypted_password VARCHAR, reset_password_token VARCHAR);
             INSERT INTO users VALUES (7, '{EMAIL}', '{DEVISE}', NULL);"
        ));
        let columns = "--columns=hashed_password=encrypted_password";
        let dry = import(&source.url(), database.url(), &[columns, "--dry-run"]);
        assert_output_contains(&dry, "If its config.pepper is set, these users cannot log in without it");
        let secret = SecretFile::new(DEVISE_SECRET);
        let flag = secret.flag();
        imported(import(&source.url(), database.url(), &[columns, "--pepper=devise", &flag]), 1);
        logs_in_with_the_secret(&database, &[EMAIL], "devise", &secret).await;
    }

    async fn columns_of_other_names_are_imported(database: Database) {
        let source = SourceFile::from_sql(&format!(
            "CREATE TABLE \"the \"\"people\"\"\" (\"Nr\" INTEGER, \"E-Mail\" TEXT, pwd BLOB, email TEXT);
             INSERT INTO \"the \"\"people\"\"\" VALUES (7, '{EMAIL}', '{HASH}', 'not this one');"
        ));
        let flags = ["--table", "the \"people\"", "--columns", "id=nr, email=E-Mail, hashed_password=pwd"];
        imported(import(&source.url(), database.url(), &flags), 1);
        let server = TestServer::start(&database).await;
        let login = server.client.login(EMAIL, PASSWORD).await.unwrap();
        assert_eq!(login.user.unwrap().id, 7);
    }

    /// Users with UUIDs get numbers, listed in a file.
    async fn uuids_become_numbers(database: Database) {
        let server = TestServer::start(&database).await;
        server.register().await;
        server.client.register("gone@example.com", PASSWORD).await.unwrap();
        database.execute("DELETE FROM users WHERE email = 'gone@example.com'");
        server.stop().await;
        let source = SourceFile::from_sql(&format!(
            "CREATE TABLE users (uuid CHAR(36) PRIMARY KEY, email TEXT, hashed_password TEXT);
             INSERT INTO users VALUES ('1b4e28ba-2fa1-11d2-883f-0016d3cca427', 'bob@example.com', '{HASH}');
             INSERT INTO users VALUES ('2b4e28ba-2fa1-11d2-883f-0016d3cca427', 'Ada@example.com', '{HASH}');
             INSERT INTO users VALUES ('3b4e28ba-2fa1-11d2-883f-0016d3cca427', 'BOB@example.com', '{HASH}');
             INSERT INTO users VALUES ('4b4e28ba-2fa1-11d2-883f-0016d3cca427', 'eve@example.com', '{HASH}');"
        ));
        uuids(&source.url(), &database).await;
    }

    async fn uuids_of_postgres_become_numbers(database: Database) {
        let Some(source) = Database::postgres().await else {
            return;
        };
        source.batch(&format!(
            "CREATE TABLE users (uuid UUID PRIMARY KEY, email TEXT, hashed_password TEXT);
             INSERT INTO users VALUES
                 ('1b4e28ba-2fa1-11d2-883f-0016d3cca427', 'bob@example.com', '{HASH}'),
                 ('2b4e28ba-2fa1-11d2-883f-0016d3cca427', 'Ada@example.com', '{HASH}'),
                 ('3b4e28ba-2fa1-11d2-883f-0016d3cca427', 'BOB@example.com', '{HASH}'),
                 ('4b4e28ba-2fa1-11d2-883f-0016d3cca427', 'eve@example.com', '{HASH}')"
        ));
        let server = TestServer::start(&database).await;
        server.register().await;
        server.client.register("gone@example.com", PASSWORD).await.unwrap();
        database.execute("DELETE FROM users WHERE email = 'gone@example.com'");
        server.stop().await;
        uuids(source.url(), &database).await;
    }
}

/// The target has Ada with id 1, and id 2 belonged to a deleted user.
async fn uuids(source: &str, into: &Database) {
    let folder = tempfile::tempdir().unwrap();
    let map = folder.path().join("ids.csv");
    let flag = format!("--id-map={}", map.display());
    let columns = "--columns=id=uuid";

    let dry = import(
        source,
        into.url(),
        &[columns, "--skip-bad", "--dry-run", &flag],
    );
    assert_count(&dry, 2, "can be imported");
    assert_output_contains(
        &dry,
        "The ids of the source are not whole numbers: each user gets a new one",
    );
    // Nothing is imported, so there is no map.
    let ended = import(source, into.url(), &[columns, &flag]);
    assert_eq!(ended.code, Some(1), "{ended:?}");
    let line = "row 3, id \"3b4e28ba-2fa1-11d2-883f-0016d3cca427\", \"BOB@example.com\": it has \
                the same address as row 1;";
    assert!(ended.output.contains(line), "{ended:?}");
    assert!(!map.exists());

    let ended = import(source, into.url(), &[columns, "--skip-bad", &flag]);
    assert_count(&ended, 1, "existing already, left unchanged");
    assert_output_contains(&ended, &format!("{} lists both, as CSV.", map.display()));
    assert_output_contains(&ended, "Passwords are unchanged.");
    imported(ended, 2);
    let expected = "source_id,user_id\r\n\
                    1b4e28ba-2fa1-11d2-883f-0016d3cca427,3\r\n\
                    2b4e28ba-2fa1-11d2-883f-0016d3cca427,1\r\n\
                    4b4e28ba-2fa1-11d2-883f-0016d3cca427,4\r\n";
    assert_eq!(fs::read_to_string(&map).unwrap(), expected);
    assert_eq!(mode(&map), 0o600);

    // A map is not overwritten; another run changes nothing and writes the same map.
    let ended = import(source, into.url(), &[columns, "--skip-bad", &flag]);
    assert_eq!(ended.code, Some(1), "{ended:?}");
    assert!(ended.errors.contains("cannot write --id-map"), "{ended:?}");
    fs::remove_file(&map).unwrap();
    let again = import(source, into.url(), &[columns, "--skip-bad", &flag]);
    assert_count(&again, 3, "existing already, left unchanged");
    imported(again, 0);
    assert_eq!(fs::read_to_string(&map).unwrap(), expected);

    let server = TestServer::start(into).await;
    for (email, id) in [("bob@example.com", 3), ("eve@example.com", 4)] {
        let login = server.client.login(email, PASSWORD).await.unwrap();
        assert_eq!(login.user.unwrap().id, id);
    }
    let next = server.client.register("next@example.com", PASSWORD).await;
    assert_eq!(next.unwrap().id, 5);
}

fn mode(path: &Path) -> u32 {
    path.metadata().unwrap().permissions().mode() & 0o777
}

/// Users with peppered hashes log in where the server has the secret, and get the service's
/// own hash then; without it, the log reports the missing secret.
async fn logs_in_with_the_secret(
    database: &Database,
    emails: &[&str],
    scheme: &str,
    secret: &SecretFile,
) {
    let prefix = format!("{scheme}+$");
    for email in emails {
        assert!(stored(database, email).starts_with(&prefix));
    }
    let folder = tempfile::tempdir().unwrap();
    let settings = ["--bcrypt-cost=4", "--database-url", database.url()];
    let process = Process::start(folder.path(), &settings);
    let client = Client::connect(process.address).await;
    refused(&client, emails[0], FOREIGN_PASSWORD).await;
    process.signal("TERM");
    let (_, log) = process.wait();
    let at_start = "pepper-file is not set, and some users were imported with a pepper";
    let warned = log.lines().filter(|line| line.contains(at_start));
    assert_eq!(warned.count(), 1, "{log}");
    assert!(log.contains("100.0 %"), "{log}");
    let at_login = format!("it was made with the pepper of {scheme}, and --pepper-file is not set");
    assert!(log.contains(&at_login), "{log}");

    let wrong = SecretFile::new("another secret");
    let server = TestServer::start_with(database, &[&wrong.flag()]).await;
    refused(&server.client, emails[0], FOREIGN_PASSWORD).await;
    server.stop().await;

    let server = TestServer::start_with(database, &[&secret.flag()]).await;
    for email in emails {
        refused(&server.client, email, "correct-Horse 7!").await;
        assert!(stored(database, email).starts_with(&prefix));
        server.client.login(email, FOREIGN_PASSWORD).await.unwrap();
        let ours = stored(database, email);
        assert!(ours.starts_with("$2b$04$"), "{ours}");
    }
    server.stop().await;

    // By now no hash needs the secret.
    let process = Process::start(folder.path(), &settings);
    let client = Client::connect(process.address).await;
    for email in emails {
        client.login(email, FOREIGN_PASSWORD).await.unwrap();
    }
    process.signal("TERM");
    let (_, log) = process.wait();
    assert!(!log.contains("pepper"), "{log}");
}
