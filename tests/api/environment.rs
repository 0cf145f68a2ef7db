//! Environment variables as deployment tools set them.

use tempfile::TempDir;

use crate::{
    harness::{
        Process,
        process::{Ended, command, run},
    },
    import::{SourceFile, TABLE},
};

/// Every variable, with its default if any.
fn variables() -> Vec<(String, Option<String>)> {
    let folder = tempfile::tempdir().unwrap();
    let mut help = command(folder.path());
    help.arg("--help");
    let help = run(help).output;
    let help = help.split_whitespace().collect::<Vec<_>>().join(" ");
    let variables: Vec<_> = help
        .split("[env: ")
        .skip(1)
        .map(|rest| {
            let (name, rest) = rest.split_once(']').expect("a name");
            let name = name.trim_end_matches('=');
            let default = rest
                .strip_prefix(" [default: ")
                .and_then(|rest| rest.split_once(']'))
                .map(|(default, _)| default.to_owned());
            (name.to_owned(), default)
        })
        .collect();
    assert!(variables.len() > 40, "{variables:?}");
    variables
}

/// Starts the server with these variables and stops it; returns its greeting and its log.
fn start(variables: &[(&str, &str)]) -> (String, String) {
    let folder = tempfile::tempdir().unwrap();
    let mut start = command(folder.path());
    start.arg("--listen=127.0.0.1:0");
    start.envs(variables.iter().copied());
    let process = Process::try_spawn(start).unwrap_or_else(|errors| panic!("{errors}"));
    let greeting = process.greeting.clone();
    process.signal("TERM");
    let (status, log) = process.wait();
    assert!(status.success(), "{log}");
    (greeting, log)
}

/// Runs `import`, from a table without rows, or `calibrate`, with these variables.
fn run_other(name: &str, variables: &[(&str, &str)]) -> Ended {
    let source = SourceFile::from_sql(TABLE);
    let mut other = command(source.folder.path());
    other.arg(name).envs(variables.iter().copied());
    if name == "import" {
        other.args(["--from", &source.url()]);
    }
    run(other)
}

fn refused(variable: &str, value: &str) -> Ended {
    let folder: TempDir = tempfile::tempdir().unwrap();
    let mut start = command(folder.path());
    start.arg("--listen=127.0.0.1:0").env(variable, value);
    let ended = run(start);
    assert_eq!(ended.code, Some(64), "{variable}={value:?}: {ended:?}");
    assert_eq!(ended.errors.lines().count(), 1, "{}", ended.errors);
    let left = folder.path().read_dir().unwrap().count();
    assert_eq!(left, 0, "{variable}={value:?} created files");
    ended
}

#[test]
fn an_empty_variable_is_not_set() {
    let variables = variables();
    for empty in ["", " ", "\r\n"] {
        let all: Vec<_> = variables
            .iter()
            .map(|(name, _)| (name.as_str(), empty))
            .collect();
        let (greeting, log) = start(&all);
        assert!(
            greeting.contains("its data is in bienvenue.db"),
            "{greeting}"
        );
        // An empty filter would drop every line.
        assert!(log.contains("INFO"), "{log}");
    }
}

/// Each command refuses only variables of settings that it uses.
#[test]
fn commands_ignore_the_variables_of_settings_that_they_do_not_use() {
    let variables = variables();
    for (name, used) in [
        (
            "import",
            &[
                "DATABASE_URL",
                "BIENVENUE_DATABASE_PASSWORD_FILE",
                "BIENVENUE_PEPPER_FILE",
            ][..],
        ),
        ("calibrate", &["BIENVENUE_HASH_THREADS"]),
    ] {
        let unusable: Vec<_> = variables
            .iter()
            .map(|(variable, _)| match used.contains(&variable.as_str()) {
                true => (variable.as_str(), ""),
                false => (variable.as_str(), "\"unreadable\""),
            })
            .collect();
        let empty: Vec<_> = unusable
            .iter()
            .map(|(variable, _)| (*variable, ""))
            .collect();
        for variables in [unusable, empty] {
            let ended = run_other(name, &variables);
            assert_eq!(ended.code, Some(0), "{name}: {ended:?}");
        }
        for variable in used {
            let ended = run_other(name, &[(variable, "\"unreadable\"")]);
            assert_eq!(ended.code, Some(64), "{name}: {ended:?}");
            assert!(ended.errors.contains(variable), "{name}: {ended:?}");
        }
    }
}

#[test]
fn white_space_around_a_value_does_not_matter() {
    let variables = variables();
    let padded: Vec<(&str, String)> = variables
        .iter()
        .filter_map(|(name, default)| Some((name.as_str(), format!(" {}\r\n", default.as_ref()?))))
        .collect();
    assert!(padded.len() > 30, "{padded:?}");
    let mut padded: Vec<(&str, &str)> = padded
        .iter()
        .map(|(name, value)| (*name, value.as_str()))
        .collect();
    padded.extend([
        ("BIENVENUE_OUTBOX", "outbox\r"),
        ("BIENVENUE_PUBLIC_URL", " https://a.example.com\n"),
        ("BIENVENUE_TRUSTED_PROXIES", " 10.0.0.0/8 ,\n ::1,\n"),
        (
            "BIENVENUE_CORS_ORIGIN",
            "https://a.example.com, https://b.example.com\r\n",
        ),
    ]);
    let (greeting, log) = start(&padded);
    assert!(
        greeting.trim_end().ends_with("its data is in bienvenue.db"),
        "{greeting:?}"
    );
    assert!(log.contains("INFO"), "{log}");
}

#[test]
fn a_misread_value_is_refused() {
    for (variable, value, advice) in [
        ("DATABASE_URL", "\"sqlite:b.db\"", "cannot be read"),
        (
            "DATABASE_URL",
            "sqlite:b.db # the main one",
            "cannot be read",
        ),
        ("DATABASE_URL", "sqlite:${DATA}/b.db", "placeholder"),
        ("DATABASE_URL", "sqlite:~/b.db", "whole path"),
        ("BIENVENUE_OUTBOX", "\"outbox\"", "quotation marks"),
        ("BIENVENUE_OUTBOX", "'outbox'", "quotation marks"),
        ("BIENVENUE_OUTBOX", "$HOME/outbox", "whole path"),
        ("BIENVENUE_OUTBOX", "outbox # mails", "line of its own"),
        ("BIENVENUE_OUTBOX", "out\nbox", "control character"),
        ("BIENVENUE_LOG", "\"info\"", "quotation marks"),
        ("BIENVENUE_SESSION_IDLE", "30M", "write a duration"),
        (
            "BIENVENUE_SESSION_INDEX_SIZE",
            "1e+06",
            "write a whole number",
        ),
    ] {
        let errors = refused(variable, value).errors;
        assert!(errors.contains(advice), "{variable}={value:?}: {errors}");
        assert!(errors.contains(variable), "{variable}={value:?}: {errors}");
    }
}

#[test]
fn yaml_turns_on_and_off_into_booleans() {
    for value in ["true", "False", "ON", "off", "Auto"] {
        start(&[("BIENVENUE_REFLECTION", value)]);
    }
}

#[test]
fn an_unknown_variable_is_reported() {
    let (_, log) = start(&[
        ("BIENVENUE_SESION_IDLE", "1h"),
        // As Kubernetes sets them for a Service named bienvenue.
        ("BIENVENUE_PORT", "tcp://10.0.0.1:50051"),
        ("BIENVENUE_SERVICE_HOST", "10.0.0.1"),
    ]);
    assert!(log.contains("BIENVENUE_SESION_IDLE is set"), "{log}");
    assert!(!log.contains("BIENVENUE_PORT"), "{log}");
    assert!(!log.contains("BIENVENUE_SERVICE_HOST"), "{log}");
}
