//! One line for each error that clap reports.

use std::error::Error as _;

use clap::{
    Arg,
    error::{ContextKind, ContextValue, ErrorKind},
};

/// The error for a value in place of a flag or a command.
const STRAY_VALUE: &str = "a value was given without its flag; bienvenue --help lists the flags";

/// The error on one line, for an operator's log; clap's own text has several.
pub(super) fn error_line(error: &clap::Error, command: &clap::Command) -> String {
    let context = |kind| match error.get(kind) {
        Some(ContextValue::String(text)) => Some(text.clone()),
        Some(ContextValue::Strings(texts)) => Some(texts.join(", ")),
        _ => None,
    };
    let named = context(ContextKind::InvalidArg).unwrap_or_default();
    // "--bcrypt-cost <COST>"
    let flag = named.split(' ').next().unwrap_or_default();
    match error.kind() {
        ErrorKind::ValueValidation | ErrorKind::InvalidValue => {
            let value = context(ContextKind::InvalidValue).unwrap_or_default();
            let valid = context(ContextKind::ValidValue).filter(|valid| !valid.is_empty());
            let advice = match (error.source(), valid) {
                (Some(source), _) => source.to_string(),
                (None, Some(valid)) => format!("write one of {valid}"),
                (None, None) => "write a value after it".to_owned(),
            };
            // The command's own arguments first: their copies in subcommands have no variables.
            let argument = [command]
                .into_iter()
                .chain(command.get_subcommands())
                .flat_map(clap::Command::get_arguments)
                .find(|argument| argument.get_long() == flag.strip_prefix("--"));
            let variable = argument
                .and_then(|argument| argument.get_env()?.to_str())
                .map_or(String::new(), |name| format!(" ({name})"));
            // A value hidden in the help may contain a password.
            if argument.is_some_and(Arg::is_hide_env_values_set) {
                format!("{flag}{variable} cannot be read: {advice}")
            } else {
                format!("{flag}{variable} cannot be {value:?}: {advice}")
            }
        }
        // A misplaced database URL may contain a password.
        ErrorKind::UnknownArgument if !flag.starts_with('-') => STRAY_VALUE.to_owned(),
        ErrorKind::UnknownArgument => {
            let close = context(ContextKind::SuggestedArg)
                .map_or(String::new(), |close| format!(" did you mean {close}?"));
            format!("there is no {flag};{close} bienvenue --help lists all settings")
        }
        ErrorKind::InvalidSubcommand => {
            let name = context(ContextKind::InvalidSubcommand).unwrap_or_default();
            if name.contains(':') {
                STRAY_VALUE.to_owned()
            } else {
                format!("there is no command {name:?}; bienvenue --help lists them")
            }
        }
        ErrorKind::MissingRequiredArgument => {
            format!("{named} is missing; bienvenue --help explains the commands")
        }
        ErrorKind::ArgumentConflict => format!("{flag} is given twice; write it once"),
        _ => {
            let text = error.render().to_string();
            let line = text.lines().next().unwrap_or_default();
            format!(
                "{}; bienvenue --help explains the settings",
                line.trim_start_matches("error: ")
            )
        }
    }
}
