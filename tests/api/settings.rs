//! Settings by flag and by variable, and the errors for invalid ones.

use std::os::unix::fs::PermissionsExt as _;

use crate::harness::{
    Process,
    process::{command, run},
    raw,
};

#[tokio::test]
async fn the_default_settings_create_a_database() {
    let folder = tempfile::tempdir().unwrap();
    let process = Process::start(folder.path(), &[]);
    assert!(process.greeting.contains("its data is in bienvenue.db"));
    let response = raw::http1(process.address, "GET", "/", &[], b"").await;
    assert_eq!(
        (response.status, response.text()),
        (200, "{\"message\":\"Bienvenue\"}\n")
    );
    for file in ["bienvenue.db", "bienvenue.db-wal", "bienvenue.db-shm"] {
        let mode = folder.path().join(file).metadata().unwrap().permissions();
        assert_eq!(mode.mode() & 0o777, 0o600, "{file}");
    }
}

#[test]
fn a_database_behind_a_link_is_private() {
    let folder = tempfile::tempdir().unwrap();
    let target = folder.path().join("target.db");
    std::os::unix::fs::symlink(&target, folder.path().join("bienvenue.db")).unwrap();
    let _process = Process::start(folder.path(), &[]);
    assert_eq!(
        target.metadata().unwrap().permissions().mode() & 0o777,
        0o600
    );
}

#[test]
fn an_invalid_setting_has_its_exit_code_with_closed_stderr() {
    let folder = tempfile::tempdir().unwrap();
    let mut command = command(folder.path());
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    command.arg("--bcrypt-cost=99").stderr(writer);
    assert_eq!(run(command).code, Some(64));
}

#[test]
fn an_invalid_setting_is_a_one_line_error_with_advice() {
    let folder = tempfile::tempdir().unwrap();
    for (flag, variable, value, advice) in [
        ("--listen", "BIENVENUE_LISTEN", "50051", "write IP:PORT"),
        (
            "--database-url",
            "DATABASE_URL",
            "mysql://ada:hunter2@db/b",
            "write sqlite:PATH",
        ),
        (
            "--bcrypt-cost",
            "BIENVENUE_BCRYPT_COST",
            "31",
            "from 4 to 16",
        ),
        (
            "--password-min-length",
            "BIENVENUE_PASSWORD_MIN_LENGTH",
            "0",
            "from 1 to 256",
        ),
        (
            "--session-idle",
            "BIENVENUE_SESSION_IDLE",
            "soon",
            "write a duration",
        ),
        (
            "--hash-max-wait",
            "BIENVENUE_HASH_MAX_WAIT",
            "2",
            "write a duration",
        ),
        ("--hash-share", "BIENVENUE_HASH_SHARE", "51", "from 1 to 50"),
        (
            "--reflection",
            "BIENVENUE_REFLECTION",
            "maybe",
            "one of auto, on, off",
        ),
        (
            "--cors-origin",
            "BIENVENUE_CORS_ORIGIN",
            "*",
            "write an origin",
        ),
        (
            "--cors-header",
            "BIENVENUE_CORS_HEADER",
            "*",
            "write the name",
        ),
        (
            "--shutdown-delay",
            "BIENVENUE_SHUTDOWN_DELAY",
            "soon",
            "write a duration",
        ),
        (
            "--smtp-url",
            "BIENVENUE_SMTP_URL",
            "smtp://ada:hunter2@mail.example.com?tls=yes",
            "write smtps://",
        ),
        (
            "--mail-from",
            "BIENVENUE_MAIL_FROM",
            "Ada",
            "write an address",
        ),
        (
            "--max-message-size",
            "BIENVENUE_MAX_MESSAGE_SIZE",
            "1GB",
            "write a size",
        ),
        (
            "--log-format",
            "BIENVENUE_LOG_FORMAT",
            "xml",
            "one of text, json",
        ),
        ("--log", "BIENVENUE_LOG", "loud=very", "write error, warn"),
        (
            "--public-url",
            "BIENVENUE_PUBLIC_URL",
            "example.com",
            "write http:// or https://",
        ),
        (
            "--trusted-proxies",
            "BIENVENUE_TRUSTED_PROXIES",
            "proxy.example.com",
            "write a network or an address",
        ),
        ("--reset-ttl", "BIENVENUE_RESET_TTL", "2h", "up to 1h"),
        (
            "--reset-delivery",
            "BIENVENUE_RESET_DELIVERY",
            "pigeon",
            "one of mail, response",
        ),
    ] {
        let mut by_flag = command(folder.path());
        by_flag.arg(format!("{flag}={value}"));
        let mut by_variable = command(folder.path());
        by_variable.env(variable, value);
        for command in [by_flag, by_variable] {
            let ended = run(command);
            assert_eq!(ended.code, Some(64), "{flag} {ended:?}");
            assert_eq!(ended.errors.lines().count(), 1, "{}", ended.errors);
            let starts = format!("bienvenue: {flag} ({variable}) cannot be");
            assert!(ended.errors.starts_with(&starts), "{}", ended.errors);
            assert!(ended.errors.contains(advice), "{}", ended.errors);
            assert!(!ended.errors.contains("hunter2"), "{}", ended.errors);
        }
    }
    let entries = folder.path().read_dir().unwrap().count();
    assert_eq!(entries, 0, "nothing was created");
}

#[test]
fn contradictory_limits_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    for (settings, named) in [
        (
            [
                "--max-connections-per-peer=100",
                "--max-connections-per-wide-network=99",
            ],
            "--max-connections-per-wide-network is less than --max-connections-per-peer",
        ),
        (
            ["--max-unsent-per-connection=3MiB", "--max-unsent=2MiB"],
            "--max-unsent is less than --max-unsent-per-connection",
        ),
        (
            [
                "--max-concurrent-streams=100",
                "--max-requests-per-connection=64",
            ],
            "--max-concurrent-streams is more than --max-requests-per-connection",
        ),
    ] {
        let mut command = command(folder.path());
        command.args(settings);
        let ended = run(command);
        assert_eq!(ended.code, Some(64), "{ended:?}");
        assert!(ended.errors.contains(named), "{}", ended.errors);
        assert_eq!(ended.errors.lines().count(), 1, "{}", ended.errors);
    }
}

#[test]
fn an_address_in_use_is_reported() {
    let folder = tempfile::tempdir().unwrap();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let mut command = command(folder.path());
    command.arg(format!("--listen={}", taken.local_addr().unwrap()));
    let ended = run(command);
    assert_eq!(ended.code, Some(1));
    assert!(
        ended.errors.contains("cannot listen on"),
        "{}",
        ended.errors
    );
    assert!(ended.errors.contains("--listen"), "{}", ended.errors);
}

#[test]
fn help_names_every_setting_with_its_variable_and_no_secret() {
    let folder = tempfile::tempdir().unwrap();
    let mut command = command(folder.path());
    command
        .arg("--help")
        .env("DATABASE_URL", "postgres://ada:hunter2@db/b")
        .env("BIENVENUE_SMTP_URL", "smtps://ada:hunter2@mail.example.com");
    let ended = run(command);
    assert_eq!(ended.code, Some(0));
    let flags: Vec<&str> = ended
        .output
        .lines()
        .filter_map(|line| line.trim_start().strip_prefix("--")?.split(' ').next())
        .collect();
    assert!(flags.len() > 25, "{flags:?}");
    for flag in &flags {
        let variable = match *flag {
            "database-url" => "[env: DATABASE_URL]".to_owned(),
            "smtp-url" => "[env: BIENVENUE_SMTP_URL]".to_owned(),
            _ => format!(
                "[env: BIENVENUE_{}=]",
                flag.to_uppercase().replace('-', "_")
            ),
        };
        assert!(ended.output.contains(&variable), "{variable}");
    }
    // The guide's table lists the same settings and defaults.
    let guide = include_str!("../../docs/settings.md");
    let table: Vec<(&str, &str)> = guide
        .lines()
        .skip_while(|line| !line.starts_with("| setting"))
        .skip(2)
        .map_while(|line| line.strip_prefix("| `")?.split_once("` | "))
        .map(|(setting, rest)| (setting, rest.split(" |").next().unwrap_or_default()))
        .collect();
    let listed: Vec<&str> = table.iter().map(|(setting, _)| *setting).collect();
    assert_eq!(listed, flags);
    for (setting, default) in table {
        let help = ended.output.split(&format!("--{setting} ")).nth(1).unwrap();
        let help = help.split("\n      --").next().unwrap();
        let expected = match default {
            "none" => "[default: none]".to_owned(),
            "cores" => "[default: the number of cores]".to_owned(),
            value => format!("[default: {}]", value.replace('`', "")),
        };
        let words: Vec<&str> = help.split_whitespace().collect();
        assert!(words.join(" ").contains(&expected), "{setting}: {help}");
    }
    assert!(!ended.output.contains("hunter2"));
}

#[test]
fn unwise_settings_cause_a_warning() {
    let folder = tempfile::tempdir().unwrap();
    for (settings, warning) in [
        (&["--bcrypt-cost=9"][..], "bcrypt-cost is below 10"),
        (&["--listen=0.0.0.0:0"], "without TLS"),
        (&["--reset-delivery=response"], "reset-delivery is response"),
        (
            &["--smtp-url=smtp://ada:hunter2@mail.example.com"],
            "smtp-url is without TLS",
        ),
    ] {
        let mut command = command(folder.path());
        command.args(settings);
        if !settings[0].contains("listen") {
            command.arg("--listen=127.0.0.1:0");
        }
        let process = Process::spawn(command);
        process.signal("TERM");
        let (status, log) = process.wait();
        assert!(status.success());
        assert!(log.contains("WARN") && log.contains(warning), "{log}");
        assert!(!log.contains("hunter2"), "{log}");
    }
}
