//! The server's own passwords: their sources, and the places that must not show them.

use std::{
    fs::{self, Permissions},
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use diesel::connection::SimpleConnection as _;
use tempfile::TempDir;

use crate::harness::{
    Cluster, EMAIL, PASSWORD, Process,
    database::connect_postgres,
    postgres,
    process::{command, run},
    server::Client,
};

/// The database's password, with all characters that are special in a URL.
const SECRET: &str = "hunter2 @/?#%&=:+'\\ \u{FC}";

/// The same, encoded for a URL.
const ENCODED: &str = "hunter2%20%40%2F%3F%23%25%26%3D%3A%2B%27%5C%20%C3%BC";

/// A PostgreSQL that requires a password from the role ada; `None` without PostgreSQL.
fn guarded() -> Option<(Cluster, String)> {
    let Some(cluster) = Cluster::on_a_socket() else {
        postgres::skipped("the test of the database's password", "to run it");
        return None;
    };
    let mut admin = connect_postgres(cluster.url());
    let quoted = SECRET.replace('\'', "''");
    let role = format!("CREATE ROLE ada LOGIN PASSWORD '{quoted}'");
    // One statement at a time: CREATE DATABASE cannot run in a transaction.
    for statement in [role.as_str(), "CREATE DATABASE guarded OWNER ada"] {
        admin.batch_execute(statement).unwrap();
    }
    // Only the rule for ada requires a password.
    admin
        .batch_execute(
            "DO $$ BEGIN EXECUTE format('COPY (VALUES (''local all ada scram-sha-256''), \
             (''local all all trust'')) TO %L', current_setting('hba_file')); END $$; \
             SELECT pg_reload_conf();",
        )
        .unwrap();
    let parameters = cluster.url().split_once('?').unwrap().1;
    let url = format!("postgres://ada@/guarded?{parameters}");
    Some((cluster, url))
}

fn with_password(url: &str) -> String {
    url.replace("ada@", &format!("ada:{ENCODED}@"))
}

/// A file with a secret, and its temporary folder.
fn secret_file(content: &str, mode: u32) -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("password");
    fs::write(&path, content).unwrap();
    fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
    (folder, path)
}

fn is_secret_in(text: &str) -> bool {
    text.contains("hunter2")
}

/// The process's entry in the process list, visible to every user of the machine.
fn process_list(process: &Process) -> String {
    let line = fs::read(format!("/proc/{}/cmdline", process.id())).unwrap();
    String::from_utf8_lossy(&line).into_owned()
}

const WARNING: &str = "database-url was given on the command line with a password";

#[tokio::test(flavor = "multi_thread")]
async fn the_password_of_the_database_comes_from_a_file_or_the_environment() {
    let Some((_cluster, url)) = guarded() else {
        return;
    };
    let (_folder, file) = secret_file(&format!("{SECRET}\n"), 0o600);
    let file = format!("--database-password-file={}", file.display());
    let pgpass = format!(
        "*:*:*:*:{}\n",
        SECRET.replace('\\', "\\\\").replace(':', "\\:")
    );
    let (_folder, pgpass) = secret_file(&pgpass, 0o600);
    let pgpass = pgpass.display().to_string();
    let (by_flag, whole) = (format!("--database-url={url}"), with_password(&url));
    for (arguments, environment, is_seen) in [
        (vec![by_flag.clone(), file.clone()], None, false),
        (
            vec![file.clone()],
            Some(("DATABASE_URL", url.as_str())),
            false,
        ),
        (vec![], Some(("DATABASE_URL", whole.as_str())), false),
        (vec![by_flag.clone()], Some(("PGPASSWORD", SECRET)), false),
        (
            vec![by_flag.clone()],
            Some(("PGPASSFILE", pgpass.as_str())),
            false,
        ),
        (vec![format!("--database-url={whole}")], None, true),
        (
            vec![
                "--database-url".to_owned(),
                format!("{url}&password={ENCODED}"),
            ],
            None,
            true,
        ),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let mut command = command(folder.path());
        command.args(["--listen=127.0.0.1:0", "--bcrypt-cost=4", "--log=debug"]);
        command.args(&arguments).envs(environment);
        let process = Process::spawn(command);
        assert_eq!(
            is_secret_in(&process_list(&process)),
            is_seen,
            "{arguments:?}"
        );
        let client = Client::connect(process.address).await;
        client.login(EMAIL, PASSWORD).await.unwrap_err();
        process.signal("TERM");
        let (status, log) = process.wait();
        assert!(status.success(), "{status}: {log}");
        assert_eq!(log.matches(WARNING).count(), usize::from(is_seen), "{log}");
        assert!(!is_secret_in(&log), "{log}");
    }
    // A wrong password is reported, but not shown.
    let (_folder, wrong) = secret_file("hunter2-wrong", 0o600);
    let folder = tempfile::tempdir().unwrap();
    let mut command = command(folder.path());
    command.args([
        &by_flag,
        &format!("--database-password-file={}", wrong.display()),
    ]);
    let ended = run(command);
    assert_eq!(ended.code, Some(1), "{ended:?}");
    assert!(
        ended.errors.contains("password authentication failed"),
        "{}",
        ended.errors
    );
    assert!(!is_secret_in(&ended.errors), "{}", ended.errors);
}

/// For both databases of an import.
#[test]
fn an_import_takes_passwords_from_files_too() {
    let Some((_cluster, url)) = guarded() else {
        return;
    };
    let (_folder, file) = secret_file(SECRET, 0o600);
    let import = |arguments: &[&str]| {
        let folder = tempfile::tempdir().unwrap();
        let mut command = command(folder.path());
        command.args(["import", "--dry-run"]).args(arguments);
        let ended = run(command);
        assert!(
            !is_secret_in(&ended.errors) && !is_secret_in(&ended.output),
            "{ended:?}"
        );
        ended
    };
    let no_table = "no table users";
    let (of_file, whole) = (file.display().to_string(), with_password(&url));
    let by_file = import(&["--from", &url, "--from-password-file", &of_file]);
    assert!(
        !by_file.errors.contains("--from-password-file"),
        "{by_file:?}"
    );
    let by_flag = import(&["--from", &whole]);
    assert!(
        by_flag.errors.contains("--from-password-file"),
        "{by_flag:?}"
    );
    // Both runs got equally far.
    let last = |text: &str| text.lines().last().unwrap_or_default().to_owned();
    assert_eq!(last(&by_file.errors), last(&by_flag.errors), "{no_table}");
}

#[test]
fn an_invalid_password_file_is_a_one_line_error() {
    let plain = "postgres://ada@127.0.0.1:1/b";
    let whole = "postgres://ada:hunter2@127.0.0.1:1/b";
    let (_a, good) = secret_file("hunter2\n", 0o600);
    let (_b, open) = secret_file("hunter2\n", 0o644);
    let (_c, empty) = secret_file("\n", 0o600);
    let (_d, two) = secret_file("hunter2\nhunter2\n", 0o600);
    let (_e, zero) = secret_file("hunter2\0", 0o600);
    let (_f, long) = secret_file(&"hunter2".repeat(1_000), 0o600);
    let missing = Path::new("missing").to_owned();
    for (settings, file, expected_text) in [
        (
            vec!["--database-url", whole],
            &good,
            "has a password already",
        ),
        (
            vec!["--database-url", "postgres://h/b?password=hunter2"],
            &good,
            "has a password already",
        ),
        (vec!["--database-url=sqlite:a.db"], &good, "SQLite"),
        (vec![], &good, "SQLite"),
        (vec!["--database-url", plain], &open, "chmod 600"),
        (vec!["--database-url", plain], &empty, "empty"),
        (vec!["--database-url", plain], &two, "one line"),
        (vec!["--database-url", plain], &zero, "one line"),
        (vec!["--database-url", plain], &long, "1024 bytes"),
        (vec!["--database-url", plain], &missing, "No such file"),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let mut command = command(folder.path());
        command
            .args(settings)
            .arg("--database-password-file")
            .arg(file);
        let ended = run(command);
        assert_eq!(ended.code, Some(64), "{ended:?}");
        assert_eq!(ended.errors.lines().count(), 1, "{}", ended.errors);
        assert!(
            ended.errors.contains("database-password-file"),
            "{}",
            ended.errors
        );
        assert!(ended.errors.contains(expected_text), "{}", ended.errors);
        assert!(!is_secret_in(&ended.errors), "{}", ended.errors);
    }
    for (settings, file, expected_text) in [
        (
            vec!["--smtp-url=smtps://mail.example.com"],
            &good,
            "names no user",
        ),
        (
            vec!["--smtp-url=smtps://ada:hunter2@mail.example.com"],
            &good,
            "has a password already",
        ),
        (vec![], &good, "without --smtp-url"),
        (
            vec!["--smtp-url=smtps://ada@mail.example.com"],
            &open,
            "chmod 600",
        ),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let mut command = command(folder.path());
        command.args(settings).arg("--smtp-password-file").arg(file);
        let ended = run(command);
        assert_eq!(ended.code, Some(64), "{ended:?}");
        assert!(ended.errors.contains(expected_text), "{}", ended.errors);
        assert!(!is_secret_in(&ended.errors), "{}", ended.errors);
    }
    let folder = tempfile::tempdir().unwrap();
    let mut command = command(folder.path());
    command.arg("--smtp-url=smtps://ada@mail.example.com");
    let ended = run(command);
    assert_eq!(ended.code, Some(64), "{ended:?}");
    assert!(
        ended.errors.contains("smtp-password-file"),
        "{}",
        ended.errors
    );
}

#[test]
fn a_mail_password_on_the_command_line_causes_a_warning() {
    let (_folder, file) = secret_file("hunter2", 0o600);
    let by_file = format!("--smtp-password-file={}", file.display());
    for (arguments, environment, is_seen) in [
        (
            vec!["--smtp-url=smtps://ada:hunter2@mail.example.com"],
            None,
            true,
        ),
        (
            vec!["--smtp-url=smtps://ada@mail.example.com", &by_file],
            None,
            false,
        ),
        (
            vec![],
            Some(("BIENVENUE_SMTP_URL", "smtps://ada:hunter2@mail.example.com")),
            false,
        ),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let mut command = command(folder.path());
        command
            .arg("--listen=127.0.0.1:0")
            .args(&arguments)
            .envs(environment);
        let process = Process::spawn(command);
        assert_eq!(is_secret_in(&process_list(&process)), is_seen);
        process.signal("TERM");
        let (_, log) = process.wait();
        let warning = "smtp-url was given on the command line with a password";
        assert_eq!(log.matches(warning).count(), usize::from(is_seen), "{log}");
        assert!(!is_secret_in(&log), "{log}");
    }
}
