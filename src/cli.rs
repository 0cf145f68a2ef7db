//! The command line: the command to run, or one line on why it cannot be read.

mod calibrate;
mod error_line;
mod greeting;
mod import;
mod settings;
#[cfg(test)]
mod tests;

use std::ffi::OsString;

use clap::{FromArgMatches as _, Parser, Subcommand, error::ErrorKind, parser::ValueSource};

pub use self::{calibrate::CostTable, greeting::greeting, import::ImportView};
use self::{
    error_line::error_line,
    import::ImportArguments,
    settings::{CALIBRATE, IMPORT, command, ignore_other_variables, refuse_other_settings},
};
use crate::{
    config::{Config, environment},
    import::ImportOptions,
};

/// Exit code for a bad setting: `EX_USAGE` of sysexits.
pub const EXIT_USAGE: u8 = 64;

/// Exit code of a stop at once, the code that a shell reports for SIGINT.
pub const EXIT_AT_ONCE: u8 = 130;

/// A self-hosted authentication service: people register, log in, change and
/// reset their passwords; your services ask whose session it is, over gRPC,
/// gRPC-Web or HTTP on one port.
#[derive(Parser, Debug)]
#[command(
    name = "bienvenue",
    version,
    after_help = "Every setting is a flag and a variable; a flag wins. \
                  Exit codes: 0 stopped as asked, 1 cannot start, 64 a bad setting, \
                  130 stopped at once by a further signal."
)]
struct Cli {
    #[command(subcommand)]
    command: Option<Subcommands>,
    #[command(flatten)]
    config: Config,
}

#[derive(Subcommand, Debug)]
enum Subcommands {
    /// Serves until a signal stops it (the default)
    Serve,
    /// Imports the users of another service, with their ids and passwords
    ///
    /// Reads a table users with id, email and hashed_password (text or bytes), as a Flask service
    /// keeps it, and adds its users to the database that --database-url names. Hashes may be
    /// bcrypt, Argon2id, passlib's bcrypt-sha256 and pbkdf2, Werkzeug's scrypt and pbkdf2, Django's
    /// of bcrypt, Argon2, scrypt and pbkdf2, or WordPress's of 6.8. Ids that are not whole numbers
    /// are replaced by new ones. All users are added or none. Sessions and reset tokens are not
    /// imported: users have to log in again. Stop the other service first. A second import changes
    /// nothing.
    #[command(
        after_help = "Exit codes: 0 imported, or a dry run without bad rows (or with --skip-bad), \
                      1 nothing was imported, unless the message says otherwise, 64 a bad setting."
    )]
    Import(ImportArguments),
    /// Measures the bcrypt costs on this machine
    ///
    /// Prints, for costs 10 to 14, the time of one hash, and the logins per second of one core and
    /// of the machine, beside the rate of one hash at a time. Takes a few seconds. Run it on an
    /// idle machine.
    Calibrate,
}

/// The command to run.
#[derive(Debug)]
pub enum Command {
    /// Serve with these settings.
    Serve(Box<Config>),
    /// Import users, after printing the warnings.
    Import(ImportOptions, Vec<&'static str>),
    /// Measure bcrypt with this number of threads.
    Calibrate(usize),
    /// Print this text and exit.
    Print(String),
}

/// Reads the command line and the environment.
///
/// # Errors
///
/// One line with the name of the setting and advice.
pub fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<Command, String> {
    let arguments: Vec<OsString> = arguments.into_iter().collect();
    let command = command();
    let used = ignore_other_variables(command.clone(), &arguments);
    let parsed = environment::tidy(used)
        .try_get_matches_from(arguments)
        .and_then(|matches| Ok((Cli::from_arg_matches(&matches)?, matches)));
    let (mut cli, matches) = match parsed {
        Ok(parsed) => parsed,
        Err(error) => {
            return match error.kind() {
                ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => {
                    Ok(Command::Print(error.render().to_string()))
                }
                _ => Err(error_line(&error, &command)),
            };
        }
    };
    environment::check(&command, &matches)?;
    let is_on_command_line =
        |name: &str| matches.value_source(name) == Some(ValueSource::CommandLine);
    match cli.command {
        None | Some(Subcommands::Serve) => {
            cli.config.read_secrets(is_on_command_line)?;
            cli.config.validate()?;
            cli.config.unknown_variables = environment::unknown_variables(&command);
            Ok(Command::Serve(Box::new(cli.config)))
        }
        Some(Subcommands::Import(arguments)) => {
            refuse_other_settings(&matches, IMPORT)?;
            let mut warnings: Vec<_> = arguments.warning().into_iter().collect();
            let is_given = is_on_command_line("pepper_file");
            cli.config
                .passwords
                .expect_pepper(arguments.has_pepper(), is_given)?;
            cli.config.read_secrets(is_on_command_line)?;
            warnings.extend(cli.config.password_warnings());
            let into = cli.config.database.database_url;
            Ok(Command::Import(arguments.into_options(into)?, warnings))
        }
        Some(Subcommands::Calibrate) => {
            refuse_other_settings(&matches, CALIBRATE)?;
            Ok(Command::Calibrate(cli.config.passwords.hashing().threads))
        }
    }
}
