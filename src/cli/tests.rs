use std::ffi::OsString;

use super::*;
use crate::db::DatabaseUrl;

fn refused(arguments: &[&str]) -> String {
    let arguments = ["bienvenue"].iter().chain(arguments).map(OsString::from);
    match parse(arguments) {
        Err(line) => line,
        Ok(command) => panic!("accepted: {command:?}"),
    }
}

#[test]
fn the_command_line_is_consistent() {
    command().debug_assert();
}

#[test]
fn a_bad_setting_is_one_line_that_says_what_to_write() {
    for (arguments, line) in [
        (
            &["--bcrypt-cost", "17"][..],
            "--bcrypt-cost (BIENVENUE_BCRYPT_COST) cannot be \"17\": write a whole number \
             from 4 to 16",
        ),
        (
            &["serve", "--listen", "here"],
            "--listen (BIENVENUE_LISTEN) cannot be \"here\": write IP:PORT, such as \
             127.0.0.1:50051 or [::1]:50051",
        ),
        (
            &["--reflection", "maybe"],
            "--reflection (BIENVENUE_REFLECTION) cannot be \"maybe\": write one of auto, on, \
             off",
        ),
        (
            &["--database-url", "mysql://ada:hunter2@db/b"],
            "--database-url (DATABASE_URL) cannot be read: write sqlite:PATH, such as \
             sqlite:bienvenue.db, or postgres://USER@HOST/DATABASE with special characters of \
             a password percent-encoded (@ is %40, / is %2F)",
        ),
        (
            &["--session-idle", "31d"],
            "--session-idle is longer than --session-absolute: write the same or less, since \
             a session that has ended cannot be idle",
        ),
        (
            &["--lisen", "x"],
            "there is no --lisen; did you mean --listen? bienvenue --help lists all settings",
        ),
        (
            &["postgres://ada:hunter2@db/b"],
            "a value was given without its flag; bienvenue --help lists the flags",
        ),
        (
            &["serve", "postgres://ada:hunter2@db/b"],
            "a value was given without its flag; bienvenue --help lists the flags",
        ),
        (
            &["--log"],
            "--log (BIENVENUE_LOG) cannot be \"\": write a value after it",
        ),
        (
            &["--database-url"],
            "--database-url (DATABASE_URL) cannot be read: write a value after it",
        ),
        (
            &["--hash-max-wait", "5s"],
            "--hash-max-wait is not shorter than --request-timeout: write less, since a hash \
             cannot wait longer than the whole request may take",
        ),
        (
            &["--smtp-url", "smtp://ada:hun/ter2@mail"],
            "--smtp-url (BIENVENUE_SMTP_URL) cannot be read: write smtps://USER:PASSWORD@HOST, \
             or smtp://HOST:587?tls=required for STARTTLS, with special characters of a user \
             or a password percent-encoded (@ is %40, / is %2F)",
        ),
        (
            &["--mail-from", "Ada"],
            "--mail-from (BIENVENUE_MAIL_FROM) cannot be \"Ada\": write an address such as \
             bienvenue@example.com, or a name and an address such as Bienvenue \
             <bienvenue@example.com>",
        ),
        (
            &["--outbox=o", "--smtp-url=smtp://localhost"],
            "--outbox and --smtp-url are both given: write one of them, since mails have one \
             destination",
        ),
        (
            &["import"],
            "--from <URL> is missing; bienvenue --help explains the commands",
        ),
        (
            &["import", "--from", "mysql://ada:hunter2@db/b"],
            "--from cannot be read: write sqlite:PATH, such as sqlite:bienvenue.db, or \
             postgres://USER@HOST/DATABASE with special characters of a password \
             percent-encoded (@ is %40, / is %2F)",
        ),
        (
            &["import", "sqlite:a.db"],
            "a value was given without its flag; bienvenue --help lists the flags",
        ),
        (
            &["import", "--from", "sqlite:a.db", "--listen", "[::1]:7"],
            "--listen is a setting of bienvenue serve: leave it out of bienvenue import, \
             which uses only --database-url, --database-password-file and --pepper-file",
        ),
        (
            &["--log=debug", "import", "--from", "sqlite:a.db"],
            "--log is a setting of bienvenue serve: leave it out of bienvenue import, which \
             uses only --database-url, --database-password-file and --pepper-file",
        ),
        (
            &["import", "--from", "sqlite:a.db", "--columns", "mail"],
            "--columns cannot be \"mail\": write the columns with other names, such as \
             email=mail,hashed_password=password,id=uuid; the default names are id, email and \
             hashed_password",
        ),
        (
            &["import", "--from", "sqlite:a.db", "--pepper", "salt"],
            "--pepper cannot be \"salt\": write flask-security or devise",
        ),
        (
            &["import", "--from", "sqlite:a.db", "--pepper", "devise"],
            "--pepper is given without --pepper-file: write the secret into a file, and name \
             it here and to bienvenue serve",
        ),
        (
            &["import", "--from", "sqlite:a.db", "--pepper-file", "pepper"],
            "--pepper-file is given without --pepper: write --pepper=flask-security or \
             --pepper=devise, the service that mixed the secret into the passwords, or leave it \
             out",
        ),
        (
            &["calibrate", "--bcrypt-cost=12"],
            "--bcrypt-cost is a setting of bienvenue serve: leave it out of bienvenue \
             calibrate, which uses only --hash-threads",
        ),
        (
            &["calibrate", "--hash-threads=0"],
            "--hash-threads (BIENVENUE_HASH_THREADS) cannot be \"0\": write a whole number \
             from 1 to 1024",
        ),
        (
            &["calibrate", "12"],
            "a value was given without its flag; bienvenue --help lists the flags",
        ),
        (
            &["sever"],
            "there is no command \"sever\"; bienvenue --help lists them",
        ),
    ] {
        assert_eq!(refused(arguments), line);
    }
}

#[test]
fn settings_come_before_or_after_the_command() {
    for arguments in [
        &["--listen", "[::1]:7"][..],
        &["serve", "--listen", "[::1]:7"],
        &["--listen", "[::1]:7", "serve"],
    ] {
        let arguments = ["bienvenue"].iter().chain(arguments).map(OsString::from);
        match parse(arguments) {
            Ok(Command::Serve(config)) => {
                assert_eq!(config.network.listen.to_string(), "[::1]:7");
            }
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn an_import_goes_into_the_database_of_the_settings() {
    for arguments in [
        &[
            "import",
            "--from",
            "sqlite:a.db",
            "--database-url",
            "sqlite:b.db",
        ][..],
        &[
            "--database-url",
            "sqlite:b.db",
            "import",
            "--from=sqlite:a.db",
        ],
    ] {
        let arguments = ["bienvenue"].iter().chain(arguments).map(OsString::from);
        match parse(arguments) {
            Ok(Command::Import(options, warnings)) => {
                assert!(warnings.is_empty(), "{warnings:?}");
                assert_eq!(options.from, DatabaseUrl::Sqlite("a.db".to_owned()));
                assert_eq!(options.into, DatabaseUrl::Sqlite("b.db".to_owned()));
                assert!(!options.is_dry_run && !options.skips_invalid);
            }
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn the_help_of_a_command_shows_its_own_settings() {
    let flags_of = |arguments: &[&str]| -> Vec<String> {
        let arguments = ["bienvenue"].iter().chain(arguments).map(OsString::from);
        let Ok(Command::Print(help)) = parse(arguments) else {
            panic!("no help");
        };
        help.lines()
            .filter_map(|line| line.trim_start().strip_prefix("--")?.split(' ').next())
            .map(str::to_owned)
            .collect()
    };
    for arguments in [
        &["import", "--help"][..],
        &["help", "import"],
        &["import", "-h"],
    ] {
        let flags = flags_of(arguments);
        let expected = [
            "from",
            "from-password-file",
            "table",
            "columns",
            "pepper",
            "without-password",
            "id-map",
            "dry-run",
            "skip-bad",
            "database-url",
            "database-password-file",
            "pepper-file",
        ];
        assert_eq!(flags, expected, "{arguments:?}");
    }
    assert_eq!(flags_of(&["calibrate", "--help"]), ["hash-threads"]);
    assert!(flags_of(&["--help"]).len() > 25);
    assert_eq!(flags_of(&["serve", "--help"]), flags_of(&["--help"]));
}

#[test]
fn help_and_version_are_not_errors() {
    for flag in ["--help", "-h", "--version"] {
        let arguments = ["bienvenue", flag].map(OsString::from);
        assert!(matches!(parse(arguments), Ok(Command::Print(_))), "{flag}");
    }
}
