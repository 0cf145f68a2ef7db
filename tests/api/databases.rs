//! Unusable databases, and databases that become unavailable.

use std::{
    fs,
    net::{Ipv4Addr, SocketAddr},
    os::unix::{
        fs::{MetadataExt as _, PermissionsExt as _},
        process::CommandExt as _,
    },
    path::Path,
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use diesel::{Connection as _, connection::SimpleConnection as _};
use sha2::Digest as _;
use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
};
use tonic::Code;

use crate::harness::{
    Database, EMAIL, Expect as _, NEW_PASSWORD, PASSWORD, Process, TestServer,
    database::{server_address, with_database},
    on_each_database,
    ports::free_port,
    process::{Binary, Ended, command, run},
};

/// Runs the binary on an unusable database.
fn fails_on(folder: &Path, url: &str) -> Ended {
    let mut command = command(folder);
    command.args(["--listen=127.0.0.1:0", "--database-url", url]);
    let ended = run(command);
    assert_eq!(ended.code, Some(1), "{ended:?}");
    assert_eq!(
        ended.errors.trim_end().lines().count(),
        1,
        "{}",
        ended.errors
    );
    assert_eq!(ended.output, "", "it announced a listener");
    ended
}

#[test]
fn a_missing_folder_is_reported() {
    let folder = tempfile::tempdir().unwrap();
    let ended = fails_on(folder.path(), "sqlite:nowhere/bienvenue.db");
    assert!(
        ended.errors.contains("cannot be created"),
        "{}",
        ended.errors
    );
    assert!(
        ended.errors.contains("create its folder first"),
        "{}",
        ended.errors
    );
    assert_eq!(folder.path().read_dir().unwrap().count(), 0);
}

#[test]
fn a_file_of_another_format_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("notes.txt");
    let notes = "these are notes, not a database\n".repeat(100);
    fs::write(&file, &notes).unwrap();
    let ended = fails_on(folder.path(), "sqlite:notes.txt");
    assert!(ended.errors.contains("not a database"), "{}", ended.errors);
    assert_eq!(fs::read_to_string(&file).unwrap(), notes);
    let ended = fails_on(folder.path(), "sqlite:.");
    assert!(ended.errors.contains("database"), "{}", ended.errors);
}

#[test]
fn a_read_only_file_is_refused() {
    let binary = Binary::for_all_users();
    for served_before in [false, true] {
        let folder = tempfile::tempdir().unwrap();
        let database = folder.path().join("bienvenue.db");
        if served_before {
            let process = Process::start(folder.path(), &[]);
            process.signal("TERM");
            assert!(process.wait().0.success());
            // A stop right after the start may leave a write-ahead log (-wal); closing
            // another connection checkpoints it.
            diesel::SqliteConnection::establish(database.to_str().unwrap())
                .unwrap()
                .batch_execute("SELECT count(*) FROM users")
                .unwrap();
            let log = folder.path().join("bienvenue.db-wal");
            assert!(!log.exists(), "a log is left");
        } else {
            fs::write(&database, "").unwrap();
        }
        let before = fs::read(&database).unwrap();
        let files = || folder.path().read_dir().unwrap().count();
        let files_before = files();
        for (path, mode) in [(database.as_path(), 0o444), (folder.path(), 0o555)] {
            fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
        }
        let mut command = binary.command(folder.path());
        command.arg("--listen=127.0.0.1:0");
        // root ignores file modes, so another user runs it.
        if fs::metadata("/proc/self").is_ok_and(|own| own.uid() == 0) {
            command.uid(65_534).gid(65_534);
        }
        let ended = run(command);
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
        assert_eq!(ended.code, Some(1), "{ended:?}");
        assert_eq!(ended.errors.lines().count(), 1, "{}", ended.errors);
        assert!(ended.errors.contains("read-only"), "{}", ended.errors);
        assert_eq!(fs::read(&database).unwrap(), before);
        assert_eq!(files(), files_before, "files were left");
    }
}

#[test]
fn foreign_tables_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.db");
    let mut flask = diesel::SqliteConnection::establish(path.to_str().unwrap()).unwrap();
    flask
        .batch_execute("CREATE TABLE users (id INTEGER PRIMARY KEY, email VARCHAR(250))")
        .unwrap();
    drop(flask);
    let before = fs::read(&path).unwrap();
    let ended = fails_on(folder.path(), "sqlite:a.db");
    assert!(
        ended.errors.contains("cannot be migrated"),
        "{}",
        ended.errors
    );
    assert!(
        ended.errors.contains("nothing was changed"),
        "{}",
        ended.errors
    );
    assert!(fs::read(&path).unwrap() == before, "it was changed");
}

on_each_database! {
    /// The sessions of an older version's database survive the migrations.
    async fn a_database_of_the_first_version_is_migrated(database: Database) {
        database.batch(match database.is_sqlite() {
            true => include_str!("../../migrations/sqlite/0001_users_and_sessions/up.sql"),
            false => include_str!("../../migrations/postgres/0001_users_and_sessions/up.sql"),
        });
        database.batch(
            "CREATE TABLE __diesel_schema_migrations (
                 version VARCHAR(50) PRIMARY KEY NOT NULL,
                 run_on TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP
             );
             INSERT INTO __diesel_schema_migrations (version) VALUES ('0001');
             INSERT INTO users (email, hashed_password, created_at) VALUES (
                 'ada@example.com',
                 '$2b$04$Eadf9KrzGkZ4OFgPkU8qg.Mo0gAq2H1xnLAE34J4y4PZ38kXfEjC2',
                 CURRENT_TIMESTAMP
             );",
        );
        let session_id = "sess_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
        let digest: String = sha2::Sha256::digest(session_id).iter().map(|byte| format!("{byte:02x}")).collect();
        let bytes = match database.is_sqlite() {
            true => format!("X'{digest}'"),
            false => format!("decode('{digest}', 'hex')"),
        };
        database.batch(&format!(
            "INSERT INTO sessions VALUES ({bytes}, '5ec79dd4-6e6c-4d44-9d2a-3f6a5a0f9a01', 1,
                 CURRENT_TIMESTAMP, CURRENT_TIMESTAMP, 'a browser', '192.0.2.1')"
        ));
        let server = TestServer::start(&database).await;
        let checked = server.client.check(session_id).await.unwrap();
        assert_eq!(checked.user.unwrap().email, EMAIL);
        server.expect_service().await;
        assert_eq!(server.client.revoke_other_sessions(session_id).await.unwrap(), 1);
        server.client.change_password(session_id, PASSWORD, NEW_PASSWORD).await.unwrap();
        server.client.expect_no_session(session_id).await;
    }

    /// A later version's database is not changed.
    async fn a_newer_database_is_refused(database: Database) {
        TestServer::start(&database).await.stop().await;
        database.execute("INSERT INTO __diesel_schema_migrations (version) VALUES ('9999')");
        let before = database.is_sqlite().then(|| fs::read(database.path()).unwrap());
        let folder = tempfile::tempdir().unwrap();
        let ended = fails_on(folder.path(), database.url());
        assert!(ended.errors.contains("newer than this version"), "{}", ended.errors);
        assert!(ended.errors.contains("9999"), "{}", ended.errors);
        if let Some(before) = before {
            assert!(fs::read(database.path()).unwrap() == before, "it was changed");
        }
        // Without the unknown migration it is served again.
        database.execute("DELETE FROM __diesel_schema_migrations WHERE version = '9999'");
        TestServer::start(&database).await.stop().await;
    }

    /// Of servers that start together on an empty database, all start on PostgreSQL and one on
    /// SQLite.
    async fn migrations_do_not_race(database: Database) {
        let starts = (0..4).map(|_| {
            let url = database.url().to_owned();
            let folder = tempfile::tempdir().unwrap();
            let mut command = command(folder.path());
            command.args(["--listen=127.0.0.1:0", "--database-url", &url]);
            tokio::task::spawn_blocking(move || (Process::try_spawn(command), folder))
        });
        let mut running = Vec::new();
        for start in starts.collect::<Vec<_>>() {
            match start.await.unwrap() {
                (Ok(process), folder) => running.push((process, folder)),
                (Err(errors), _) => assert!(errors.contains("another bienvenue uses it"), "{errors}"),
            }
        }
        assert_eq!(running.len(), if database.is_sqlite() { 1 } else { 4 });
    }

    /// A locked database is awaited, and then UNAVAILABLE.
    async fn a_locked_database_is_unavailable(database: Database) {
        let server = TestServer::start(&database).await;
        server.register().await;
        let session_id = server.login().await.session_id;
        let mut locker = Locker::lock(&database);
        server
            .client
            .login(EMAIL, PASSWORD)
            .await
            .expect_refusal(Code::Unavailable, "UNAVAILABLE");
        server.client.check(&session_id).await.expect("reading goes on");
        locker.release();
        server.login().await;
    }
}

/// Locks the table of sessions against writers.
pub enum Locker {
    Sqlite(Box<diesel::SqliteConnection>),
    Postgres(Box<diesel::PgConnection>),
}

impl Locker {
    pub fn lock(database: &Database) -> Self {
        if database.is_sqlite() {
            let mut connection = database.connect_sqlite();
            connection.batch_execute("BEGIN IMMEDIATE").unwrap();
            Self::Sqlite(Box::new(connection))
        } else {
            let mut connection = crate::harness::database::connect_postgres(database.url());
            connection
                .batch_execute("BEGIN; LOCK TABLE sessions IN SHARE MODE")
                .unwrap();
            Self::Postgres(Box::new(connection))
        }
    }

    pub fn release(&mut self) {
        match self {
            Self::Sqlite(connection) => connection.batch_execute("ROLLBACK"),
            Self::Postgres(connection) => connection.batch_execute("ROLLBACK"),
        }
        .unwrap();
    }
}

/// Forwards to PostgreSQL until cut.
struct Forwarder {
    address: std::net::SocketAddr,
    whole: Arc<AtomicBool>,
    cut: tokio::sync::watch::Sender<()>,
}

impl Forwarder {
    async fn to(target: String) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let whole = Arc::new(AtomicBool::new(true));
        let (cut, cuts) = tokio::sync::watch::channel(());
        let is_whole = Arc::clone(&whole);
        tokio::spawn(async move {
            while let Ok((mut near, _)) = listener.accept().await {
                if !is_whole.load(Ordering::SeqCst) {
                    continue;
                }
                let (target, mut cuts) = (target.clone(), cuts.clone());
                cuts.mark_unchanged();
                tokio::spawn(async move {
                    let mut far = TcpStream::connect(target).await.unwrap();
                    tokio::select! {
                        _ = copy_bidirectional(&mut near, &mut far) => {}
                        _ = cuts.changed() => {}
                    }
                });
            }
        });
        Self {
            address,
            whole,
            cut,
        }
    }

    fn set_whole(&self, whole: bool) {
        self.whole.store(whole, Ordering::SeqCst);
        if !whole {
            let _ = self.cut.send(());
        }
    }
}

#[test]
fn a_lost_database_is_unavailable_until_it_returns() {
    if let Some(database) = Database::postgres_blocking() {
        database.run(lose_and_restore);
    }
}

async fn lose_and_restore(database: Database) {
    let wire = Forwarder::to(server_address(database.url())).await;
    let url = database
        .url()
        .replace(&server_address(database.url()), &wire.address.to_string());
    let server = TestServer::start_at(&url, &[]).await;
    server.register().await;
    let session_id = server.login().await.session_id;
    for _ in 0..2 {
        wire.set_whole(false);
        // Checks are answered from memory for up to a second.
        let relied_on = async { while server.client.check(&session_id).await.is_ok() {} };
        tokio::time::timeout(std::time::Duration::from_secs(10), relied_on)
            .await
            .expect("checks fail without the database");
        // Each waits for a connection up to its limit: run together.
        let refusals = tokio::join!(
            server.client.check(&session_id),
            server.client.login(EMAIL, PASSWORD),
            server.client.register("bob@example.com", PASSWORD),
            server.client.logout(&session_id),
        );
        for refusal in [
            refusals.0.map(drop),
            refusals.1.map(drop),
            refusals.2.map(drop),
            refusals.3,
        ] {
            // Never reported as a wrong password or an invalid session.
            refusal.expect_refusal(Code::Unavailable, "UNAVAILABLE");
        }
        wire.set_whole(true);
        // The pool has replaced its broken connections.
        let recovered = async { while server.client.check(&session_id).await.is_err() {} };
        tokio::time::timeout(std::time::Duration::from_secs(10), recovered)
            .await
            .expect("the server recovers");
        server.login().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unreachable_database_is_named_without_its_password() {
    let Some(database) = Database::postgres().await else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let free = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()));
    let ended = fails_on(folder.path(), &format!("postgres://ada:hunter2@{free}/b"));
    assert!(
        ended.errors.contains("cannot be opened"),
        "{}",
        ended.errors
    );
    assert!(!ended.errors.contains("hunter2"), "{}", ended.errors);
    let ended = fails_on(
        folder.path(),
        &with_database(database.url(), "nobody_made_this"),
    );
    assert!(ended.errors.contains("does not exist"), "{}", ended.errors);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_read_only_postgres_is_refused() {
    let Some(database) = Database::postgres().await else {
        return;
    };
    let name = database
        .url()
        .rsplit('/')
        .next()
        .unwrap()
        .split('?')
        .next()
        .unwrap();
    database.execute(&format!(
        "ALTER DATABASE {name} SET default_transaction_read_only = on"
    ));
    let folder = tempfile::tempdir().unwrap();
    let ended = fails_on(folder.path(), database.url());
    assert!(ended.errors.contains("read-only"), "{}", ended.errors);
}

/// The bundled libpq supports TLS: the error is about the server's lack of it, not about the
/// setting.
#[tokio::test(flavor = "multi_thread")]
async fn the_bundled_libpq_has_tls() {
    let Some(database) = Database::postgres().await else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let url = database.url();
    let separator = if url.contains('?') { '&' } else { '?' };
    let url = format!("{url}{separator}sslmode=verify-full&sslrootcert=nowhere.pem");
    let ended = fails_on(folder.path(), &url);
    let tls = ["root certificate file", "does not support SSL"];
    assert!(
        tls.iter().any(|words| ended.errors.contains(words)),
        "{}",
        ended.errors
    );
}

/// flock(2) as on volumes without it, for files with this suffix.
const NO_LOCKS: &str = r#"
    #define _GNU_SOURCE
    #include <errno.h>
    #include <stdio.h>
    #include <stdlib.h>
    #include <string.h>
    #include <sys/syscall.h>
    #include <unistd.h>
    int flock(int fd, int operation) {
        char link[64], path[4096] = "";
        snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
        ssize_t length = readlink(link, path, sizeof path - 1);
        const char *suffix = getenv("NO_LOCKS_ON");
        size_t end = length < 0 ? 0 : (size_t)length, wanted = strlen(suffix);
        if (end >= wanted && strcmp(path + end - wanted, suffix) == 0) {
            errno = ENOLCK;
            return -1;
        }
        return syscall(SYS_flock, fd, operation);
    }"#;

/// Builds a library that overrides the C library's flock(2).
fn library_without_locks(folder: &Path) -> std::path::PathBuf {
    let (source, library) = (folder.join("locks.c"), folder.join("locks.so"));
    if library.exists() {
        return library;
    }
    fs::write(&source, NO_LOCKS).unwrap();
    let built = Command::new("cc")
        .args(["-shared", "-fPIC", "-o"])
        .args([&library, &source])
        .status();
    assert!(built.expect("cc runs").success());
    library
}

/// The binary on a volume without flock for files with this suffix.
fn without_locks_on(suffix: &str, folder: &Path) -> Command {
    let mut command = command(folder);
    command
        .arg("--listen=127.0.0.1:0")
        .env("LD_PRELOAD", library_without_locks(folder))
        .env("NO_LOCKS_ON", suffix);
    command
}

/// NFS implements flock(2) with the same locks as SQLite's: the database file has none.
#[test]
fn one_process_locks_a_database_on_nfs() {
    let folder = tempfile::tempdir().unwrap();
    let first = Process::spawn(without_locks_on("bienvenue.db", folder.path()));
    // The second file's lock still holds.
    let ended = run(without_locks_on("bienvenue.db", folder.path()));
    assert_eq!(ended.code, Some(1), "{ended:?}");
    assert!(
        ended.errors.contains("another bienvenue uses it"),
        "{ended:?}"
    );
    drop(first);
}

#[test]
fn a_volume_without_locks_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let ended = run(without_locks_on("", folder.path()));
    assert_eq!(ended.code, Some(1), "{ended:?}");
    assert_eq!(ended.errors.lines().count(), 1, "{}", ended.errors);
    for word in ["does not support file locks", "local disk"] {
        assert!(ended.errors.contains(word), "{}", ended.errors);
    }
}
