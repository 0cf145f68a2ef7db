//! The settings that each command accepts.

use std::ffi::OsString;

use clap::{Arg, ArgMatches, CommandFactory as _, builder::Resettable, parser::ValueSource};

use super::Cli;

/// A command that uses few of the settings.
#[derive(Clone, Copy)]
pub(super) struct CommandSettings {
    command: &'static str,
    settings: &'static [&'static str],
}

impl CommandSettings {
    fn uses(self, argument: &Arg) -> bool {
        self.settings.contains(&argument.get_id().as_str())
    }
}

pub(super) const IMPORT: CommandSettings = CommandSettings {
    command: "import",
    settings: &["database_url", "database_password_file", "pepper_file"],
};

pub(super) const CALIBRATE: CommandSettings = CommandSettings {
    command: "calibrate",
    settings: &["hash_threads"],
};

/// The command line with all settings, before or after the command. A command's help leaves out
/// the settings that it does not use.
pub(super) fn command() -> clap::Command {
    let command = Cli::command().mut_args(|argument| argument.global(true));
    [IMPORT, CALIBRATE]
        .into_iter()
        .fold(command, |command, own| {
            let hidden: Vec<Arg> = other_settings(&command, own)
                .map(|argument| without_variable(argument.clone()).hide(true))
                .collect();
            command.mut_subcommand(own.command, |subcommand| subcommand.args(hidden))
        })
}

fn other_settings(command: &clap::Command, own: CommandSettings) -> impl Iterator<Item = &Arg> {
    let arguments = command.get_arguments();
    arguments.filter(move |argument| !own.uses(argument))
}

fn without_variable(argument: Arg) -> Arg {
    argument.env(Resettable::Reset)
}

/// Ignores the variables of the settings that the command named by the arguments does not use:
/// they may be set for the service, and need not even be readable.
pub(super) fn ignore_other_variables(
    command: clap::Command,
    arguments: &[OsString],
) -> clap::Command {
    let name = command_name(&command, arguments);
    let own = [IMPORT, CALIBRATE]
        .into_iter()
        .find(|own| name.as_deref() == Some(own.command));
    match own {
        Some(own) => command.mut_args(|argument| {
            if own.uses(&argument) {
                argument
            } else {
                without_variable(argument)
            }
        }),
        None => command,
    }
}

/// The name of the command among the arguments, if any, whether or not the others can be read.
fn command_name(command: &clap::Command, arguments: &[OsString]) -> Option<String> {
    let matches = command
        .clone()
        .mut_args(without_variable)
        .ignore_errors(true)
        .try_get_matches_from(arguments)
        .ok()?;
    matches.subcommand_name().map(str::to_owned)
}

/// Refuses flags that a command does not use.
pub(super) fn refuse_other_settings(
    matches: &ArgMatches,
    own: CommandSettings,
) -> Result<(), String> {
    let command = command();
    let flag = other_settings(&command, own)
        .filter(|argument| {
            let source = matches.value_source(argument.get_id().as_str());
            source == Some(ValueSource::CommandLine)
        })
        .find_map(Arg::get_long);
    match flag {
        Some(flag) => {
            let flags = own
                .settings
                .iter()
                .map(|name| format!("--{}", name.replace('_', "-")))
                .collect::<Vec<_>>();
            Err(format!(
                "--{flag} is a setting of bienvenue serve: leave it out of bienvenue {}, which \
                 uses only {}",
                own.command,
                enumeration(&flags),
            ))
        }
        None => Ok(()),
    }
}

/// `a`, `a and b`, or `a, b and c`.
fn enumeration(items: &[String]) -> String {
    match items {
        [first @ .., last] if !first.is_empty() => format!("{} and {last}", first.join(", ")),
        _ => items.concat(),
    }
}
