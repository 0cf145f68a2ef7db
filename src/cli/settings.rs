//! The settings that each command accepts.

use clap::{Arg, ArgMatches, CommandFactory as _, parser::ValueSource};

use super::Cli;

/// A command that uses few of the settings.
#[derive(Clone, Copy)]
pub(super) struct CommandSettings {
    command: &'static str,
    settings: &'static [&'static str],
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
                .map(|argument| argument.clone().hide(true))
                .collect();
            command.mut_subcommand(own.command, |subcommand| subcommand.args(hidden))
        })
}

fn other_settings(command: &clap::Command, own: CommandSettings) -> impl Iterator<Item = &Arg> {
    let arguments = command.get_arguments();
    arguments.filter(move |argument| !own.settings.contains(&argument.get_id().as_str()))
}

/// Refuses flags that a command does not use. Variables may be set for the service, so they are
/// ignored.
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
            let names = own
                .settings
                .iter()
                .map(|name| format!("--{}", name.replace('_', "-")));
            Err(format!(
                "--{flag} is a setting of bienvenue serve: leave it out of bienvenue {}, which \
                 uses only {}",
                own.command,
                names.collect::<Vec<_>>().join(" and "),
            ))
        }
        None => Ok(()),
    }
}
