//! Values as deployment tools deliver them. A shell removes quotation marks, comments and line
//! ends, and substitutes variables; an env file of Docker, a template of Helm or a Secret of
//! Kubernetes does not. A value whose meaning would differ from its author's intent is refused
//! with a reason.

use std::{env, ffi::OsStr};

use clap::{Arg, ArgMatches, Command, builder::Resettable};

/// The prefix of this service's variables.
const PREFIX: &str = "BIENVENUE_";

/// The names of path values in the help.
const PATHS: [&str; 2] = ["PATH", "FOLDER"];

/// The name of URL values in the help, which may contain a path.
const URL: &str = "URL";

/// Prepares a command for the environment: an empty variable counts as unset, and white space
/// around a value, or around the items of a list, is trimmed.
pub fn tidy(command: Command) -> Command {
    command.mut_args(|argument| {
        let value = argument.get_env().and_then(env::var_os);
        // The parser reports invalid UTF-8.
        let Some(text) = value.as_deref().and_then(OsStr::to_str) else {
            return argument;
        };
        let tidied = tidied(text, argument.get_value_delimiter());
        if tidied.as_deref() == Some(text) {
            return argument;
        }
        // The value of a variable cannot be replaced here, but the default can.
        let argument = argument.env(Resettable::Reset);
        match tidied {
            None => argument,
            Some(tidied) => argument.default_value(tidied),
        }
    })
}

/// The value without white space around it and around its items; `None` if it is empty.
fn tidied(text: &str, delimiter: Option<char>) -> Option<String> {
    let text = text.trim();
    let tidied = match delimiter {
        None => text.to_owned(),
        Some(delimiter) => {
            let items = text.split([delimiter, '\n']);
            let items = items.map(str::trim).filter(|item| !item.is_empty());
            items.collect::<Vec<_>>().join(&delimiter.to_string())
        }
    };
    (!tidied.is_empty()).then_some(tidied)
}

/// Refuses values that a parser would accept with another meaning than their author's.
///
/// # Errors
///
/// One line with the name of the setting and advice.
pub fn check(command: &Command, matches: &ArgMatches) -> Result<(), String> {
    for argument in command.get_arguments() {
        let id = argument.get_id().as_str();
        let Ok(Some(values)) = matches.try_get_raw(id) else {
            continue;
        };
        for value in values.filter_map(OsStr::to_str) {
            if let Some(problem) = problem(value, kind(argument)) {
                return Err(format!("{} {problem}", names(argument)));
            }
        }
    }
    match matches.subcommand() {
        Some((name, matches)) => {
            let subcommand = command.find_subcommand(name);
            subcommand.map_or(Ok(()), |subcommand| check(subcommand, matches))
        }
        None => Ok(()),
    }
}

/// Variables with the prefix of settings that are not settings, such as misspelt ones.
pub fn unknown_variables(command: &Command) -> Vec<String> {
    let variables = env::vars_os().filter_map(|(name, _)| name.into_string().ok());
    let known: Vec<&str> = command
        .get_arguments()
        .filter_map(|argument| argument.get_env()?.to_str())
        .collect();
    let mut unknown: Vec<String> = variables
        .filter(|name| name.starts_with(PREFIX) && !known.contains(&name.as_str()))
        .filter(|name| !is_service_link(name))
        .collect();
    unknown.sort_unstable();
    unknown
}

/// Whether a variable has the form that Kubernetes sets for each Service of the namespace, which
/// may be named bienvenue.
fn is_service_link(name: &str) -> bool {
    name.ends_with("_SERVICE_HOST")
        || name.contains("_SERVICE_PORT")
        || name.ends_with("_PORT")
        || name.contains("_PORT_")
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Path,
    Url,
    Other,
}

fn kind(argument: &Arg) -> Kind {
    let is_named = |names: &[&str]| {
        let own = argument.get_value_names().unwrap_or_default();
        own.iter().any(|name| names.contains(&name.as_str()))
    };
    if is_named(&PATHS) {
        Kind::Path
    } else if is_named(&[URL]) {
        Kind::Url
    } else {
        Kind::Other
    }
}

/// `--x-y (BIENVENUE_X_Y)`
fn names(argument: &Arg) -> String {
    let flag = argument.get_long().unwrap_or_default();
    match argument.get_env().and_then(OsStr::to_str) {
        Some(variable) => format!("--{flag} ({variable})"),
        None => format!("--{flag}"),
    }
}

/// The problem with a value, and advice, without the value, which may be secret.
fn problem(value: &str, kind: Kind) -> Option<&'static str> {
    let is_quoted =
        |mark: char| value.len() > 1 && value.starts_with(mark) && value.ends_with(mark);
    let path = match kind {
        Kind::Path => Some(value),
        Kind::Url => value.strip_prefix("sqlite:"),
        Kind::Other => None,
    };
    if is_quoted('"') || is_quoted('\'') {
        Some("has quotation marks around its value, which no shell removes here: leave them out")
    } else if value.contains(char::is_control) {
        Some("has a control character, such as a line end, within its value: leave it out")
    } else if kind != Kind::Other && value.contains(" #") {
        Some("has a comment after its value: put it on a line of its own")
    } else if kind != Kind::Other && ["${", "$(", "{{"].iter().any(|open| value.contains(open)) {
        Some("has an unreplaced placeholder in its value: write the value itself")
    } else if path.is_some_and(|path| path.starts_with('~') || has_variable(path)) {
        Some("has ~ or $ in its path, which no shell replaces here: write the whole path")
    } else {
        None
    }
}

/// Whether a path contains `$NAME`.
fn has_variable(path: &str) -> bool {
    let mut after = path.split('$').skip(1);
    after.any(|rest| rest.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn white_space_is_trimmed() {
        for (text, delimiter, value) in [
            ("7d", None, Some("7d")),
            (" 7d\r\n", None, Some("7d")),
            ("", None, None),
            (" \r\n", None, None),
            ("a b", None, Some("a b")),
            (" a, b ,c\r\n", Some(','), Some("a,b,c")),
            ("a\n b\n", Some(','), Some("a,b")),
            ("a,,b,", Some(','), Some("a,b")),
            (" , ", Some(','), None),
        ] {
            assert_eq!(tidied(text, delimiter).as_deref(), value, "{text:?}");
        }
    }

    #[test]
    fn a_value_with_another_meaning_is_refused() {
        for (value, kind, word) in [
            ("\"7d\"", Kind::Other, "quotation"),
            ("'/run/b'", Kind::Path, "quotation"),
            ("a\nb", Kind::Other, "control"),
            ("/run/b # main", Kind::Path, "comment"),
            ("sqlite:b.db # main", Kind::Url, "comment"),
            ("postgres://db/${NAME}", Kind::Url, "placeholder"),
            ("{{ .Values.path }}", Kind::Path, "placeholder"),
            ("~/outbox", Kind::Path, "whole path"),
            ("$HOME/outbox", Kind::Path, "whole path"),
            ("sqlite:~/b.db", Kind::Url, "whole path"),
            ("sqlite:$HOME/b.db", Kind::Url, "whole path"),
        ] {
            let problem = problem(value, kind).unwrap_or_default();
            assert!(problem.contains(word), "{value:?}: {problem:?}");
        }
        for (value, kind) in [
            ("\"Ada #1\" <ada@example.com>", Kind::Other),
            ("\"", Kind::Other),
            ("/var/lib/b~1/$", Kind::Path),
            ("/srv/a b", Kind::Path),
            ("smtp://ada:$ecret@mail", Kind::Url),
        ] {
            assert_eq!(problem(value, kind), None, "{value:?}");
        }
    }

    #[test]
    fn kubernetes_service_variables_are_not_unknown() {
        for link in [
            "BIENVENUE_SERVICE_HOST",
            "BIENVENUE_SERVICE_PORT",
            "BIENVENUE_SERVICE_PORT_GRPC",
            "BIENVENUE_PORT",
            "BIENVENUE_PORT_50051_TCP_ADDR",
            "BIENVENUE_ADMIN_SERVICE_HOST",
        ] {
            assert!(is_service_link(link), "{link}");
        }
        assert!(!is_service_link("BIENVENUE_SESION_IDLE"));
    }
}
