//! The command line: what is asked for, or one plain line on why it cannot be.

mod calibrate;
mod import;

use std::{error::Error as _, ffi::OsString, net::SocketAddr};

use clap::{
    Arg, ArgMatches, CommandFactory as _, FromArgMatches as _, Parser, Subcommand,
    error::{ContextKind, ContextValue, ErrorKind},
    parser::ValueSource,
};

use self::import::ImportArguments;
pub use self::{calibrate::CostTable, import::ImportView};
use crate::{
    config::{Config, MailSettings, environment},
    db::DatabaseUrl,
    import::Order,
};

/// Exit code for a bad setting: `EX_USAGE` of sysexits.
pub const EXIT_USAGE: u8 = 64;

/// Exit code after a second signal: what a shell reports for SIGINT.
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
                  130 a second signal."
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
    /// of bcrypt, Argon2, scrypt and pbkdf2, or WordPress's of 6.8. Ids that are no whole numbers
    /// are replaced by new ones. All users are added or none. Sessions and reset tokens are not
    /// taken: everybody logs in again. Stop the other service first. Run twice, it changes nothing
    /// the second time.
    #[command(
        after_help = "Exit codes: 0 imported, or a dry run without bad rows (or with --skip-bad), \
                      1 nothing was imported, unless the message leaves that open, 64 a bad \
                      setting."
    )]
    Import(ImportArguments),
    /// Measures what each bcrypt cost comes to on this machine
    ///
    /// Prints, for costs 10 to 14, how long one hash takes, and how many logins per second one
    /// core and the machine can do, beside the rate of one hash at a time. Takes a few seconds.
    /// Run it while the machine has nothing else to do.
    Calibrate,
}

/// What the command line asks for.
#[derive(Debug)]
pub enum Command {
    /// Serve with these settings.
    Serve(Box<Config>),
    /// Import users, after saying what is unwise.
    Import(Order, Vec<&'static str>),
    /// Measure bcrypt with so many threads.
    Calibrate(usize),
    /// Print this text and be done.
    Print(String),
}

/// Reads the command line and the environment.
///
/// # Errors
///
/// One line that names the setting and says what to write instead.
pub fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<Command, String> {
    let command = command();
    let parsed = environment::tidy(command.clone())
        .try_get_matches_from(arguments)
        .and_then(|matches| Ok((Cli::from_arg_matches(&matches)?, matches)));
    let (mut cli, matches) = match parsed {
        Ok(parsed) => parsed,
        Err(error) => {
            return match error.kind() {
                ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => {
                    Ok(Command::Print(error.render().to_string()))
                }
                _ => Err(one_line(&error)),
            };
        }
    };
    environment::check(&command, &matches)?;
    let is_on_command_line =
        |name: &str| matches.value_source(name) == Some(ValueSource::CommandLine);
    match cli.command {
        None | Some(Subcommands::Serve) => {
            cli.config.read_passwords(is_on_command_line)?;
            cli.config.validate()?;
            cli.config.unknown_variables = environment::unknown_variables(&command);
            Ok(Command::Serve(Box::new(cli.config)))
        }
        Some(Subcommands::Import(arguments)) => {
            refuse_other_settings(&matches, IMPORT)?;
            let mut warnings: Vec<_> = arguments.warning().into_iter().collect();
            // What is set for mail means nothing here.
            cli.config.mail = MailSettings::default();
            let is_given = is_on_command_line("pepper_file");
            cli.config
                .passwords
                .expect_pepper(arguments.has_pepper(), is_given)?;
            cli.config.read_passwords(is_on_command_line)?;
            warnings.extend(cli.config.visible_passwords());
            let into = cli.config.database.database_url;
            Ok(Command::Import(arguments.into_order(into)?, warnings))
        }
        Some(Subcommands::Calibrate) => {
            refuse_other_settings(&matches, CALIBRATE)?;
            Ok(Command::Calibrate(cli.config.passwords.hashing().threads))
        }
    }
}

/// A command that goes by few settings alone.
#[derive(Clone, Copy)]
struct Lone {
    command: &'static str,
    settings: &'static [&'static str],
}

const IMPORT: Lone = Lone {
    command: "import",
    settings: &["database_url", "database_password_file", "pepper_file"],
};

const CALIBRATE: Lone = Lone {
    command: "calibrate",
    settings: &["hash_threads"],
};

/// The settings may stand before the command or after it. Those that mean nothing
/// to a command are not in its help.
fn command() -> clap::Command {
    let command = Cli::command().mut_args(|argument| argument.global(true));
    [IMPORT, CALIBRATE]
        .into_iter()
        .fold(command, |command, lone| {
            let hidden: Vec<Arg> = other_settings(&command, lone)
                .map(|argument| argument.clone().hide(true))
                .collect();
            command.mut_subcommand(lone.command, |subcommand| subcommand.args(hidden))
        })
}

fn other_settings(command: &clap::Command, lone: Lone) -> impl Iterator<Item = &Arg> {
    let arguments = command.get_arguments();
    arguments.filter(move |argument| !lone.settings.contains(&argument.get_id().as_str()))
}

/// A variable may be there for the service, a flag is meant for the command.
fn refuse_other_settings(matches: &ArgMatches, lone: Lone) -> Result<(), String> {
    let command = command();
    let flag = other_settings(&command, lone)
        .filter(|argument| {
            let source = matches.value_source(argument.get_id().as_str());
            source == Some(ValueSource::CommandLine)
        })
        .find_map(Arg::get_long);
    match flag {
        Some(flag) => {
            let own = lone
                .settings
                .iter()
                .map(|name| format!("--{}", name.replace('_', "-")));
            Err(format!(
                "--{flag} is a setting of bienvenue serve: leave it out of bienvenue {}, which \
                 goes by {} alone",
                lone.command,
                own.collect::<Vec<_>>().join(" and "),
            ))
        }
        None => Ok(()),
    }
}

/// Said of a value where a flag or a command should be.
const STRAY: &str = "a setting stands without its flag; bienvenue --help lists them";

/// clap explains itself over many lines; an operator's log has room for one.
fn one_line(error: &clap::Error) -> String {
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
            let command = command();
            let argument = command
                .get_subcommands()
                .chain([&command])
                .flat_map(clap::Command::get_arguments)
                .find(|argument| argument.get_long() == flag.strip_prefix("--"));
            let variable = argument
                .and_then(|argument| argument.get_env()?.to_str())
                .map_or(String::new(), |name| format!(" ({name})"));
            // What is hidden in the help may hold a password.
            if argument.is_some_and(Arg::is_hide_env_values_set) {
                format!("{flag}{variable} cannot be read: {advice}")
            } else {
                format!("{flag}{variable} cannot be {value:?}: {advice}")
            }
        }
        // A database URL in the wrong place may hold a password.
        ErrorKind::UnknownArgument if !flag.starts_with('-') => STRAY.to_owned(),
        ErrorKind::UnknownArgument => {
            let close = context(ContextKind::SuggestedArg)
                .map_or(String::new(), |close| format!(" did you mean {close}?"));
            format!("there is no {flag};{close} bienvenue --help lists all settings")
        }
        ErrorKind::InvalidSubcommand => {
            let name = context(ContextKind::InvalidSubcommand).unwrap_or_default();
            if name.contains(':') {
                STRAY.to_owned()
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

/// What to tell the person who started it.
pub fn greeting(config: &Config, address: SocketAddr, admin: Option<SocketAddr>) -> String {
    let mut text = format!(
        "bienvenue {} listens on {address} (gRPC, gRPC-Web, HTTP); its data is {}\n",
        env!("CARGO_PKG_VERSION"),
        match &config.database.database_url {
            DatabaseUrl::Sqlite(path) => format!("in {path}"),
            DatabaseUrl::Postgres(_) => "in PostgreSQL".to_owned(),
        },
    );
    if let Some(admin) = admin {
        text.push_str(&format!(
            "The internal listener is on {admin} (gRPC, with the token)\n"
        ));
    }
    if config.network.reflects(config.network.listen) {
        text.push_str(&format!(
            "\nTry it:\n  \
             curl http://{address}/\n  \
             grpcurl -plaintext -d '{{\"email\":\"ada@example.com\",\"password\":\"correct horse \
             battery\"}}' {address} bienvenue.v1.AuthService/Register\n\n\
             All settings: bienvenue --help. Stop with Ctrl-C.\n"
        ));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(arguments: &[&str]) -> String {
        let arguments = ["bienvenue"].iter().chain(arguments).map(OsString::from);
        match parse(arguments) {
            Err(line) => line,
            Ok(command) => panic!("accepted: {command:?}"),
        }
    }

    #[test]
    fn the_command_is_sound() {
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
                "a setting stands without its flag; bienvenue --help lists them",
            ),
            (
                &["serve", "postgres://ada:hunter2@db/b"],
                "a setting stands without its flag; bienvenue --help lists them",
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
                "--hash-max-wait is not shorter than --request-timeout: write less, since nobody \
                 waits longer than the whole request may take",
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
                "--outbox and --smtp-url are both given: write one of them, since mails go to one \
                 place",
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
                "a setting stands without its flag; bienvenue --help lists them",
            ),
            (
                &["import", "--from", "sqlite:a.db", "--listen", "[::1]:7"],
                "--listen is a setting of bienvenue serve: leave it out of bienvenue import, \
                 which goes by --database-url and --database-password-file and --pepper-file \
                 alone",
            ),
            (
                &["--log=debug", "import", "--from", "sqlite:a.db"],
                "--log is a setting of bienvenue serve: leave it out of bienvenue import, which \
                 goes by --database-url and --database-password-file and --pepper-file alone",
            ),
            (
                &["import", "--from", "sqlite:a.db", "--columns", "mail"],
                "--columns cannot be \"mail\": write which columns have other names, such as \
                 email=mail,hashed_password=password,id=uuid; those that are left out are id, \
                 email and hashed_password",
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
                 --pepper=devise, after what mixed the secret into the passwords, or leave it out",
            ),
            (
                &["calibrate", "--bcrypt-cost=12"],
                "--bcrypt-cost is a setting of bienvenue serve: leave it out of bienvenue \
                 calibrate, which goes by --hash-threads alone",
            ),
            (
                &["calibrate", "--hash-threads=0"],
                "--hash-threads (BIENVENUE_HASH_THREADS) cannot be \"0\": write a whole number \
                 from 1 to 1024",
            ),
            (
                &["calibrate", "12"],
                "a setting stands without its flag; bienvenue --help lists them",
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
    fn settings_stand_before_or_after_the_command() {
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
                Ok(Command::Import(order, warnings)) => {
                    assert!(warnings.is_empty(), "{warnings:?}");
                    assert_eq!(order.from, DatabaseUrl::Sqlite("a.db".to_owned()));
                    assert_eq!(order.into, DatabaseUrl::Sqlite("b.db".to_owned()));
                    assert!(!order.is_dry_run && !order.skips_bad);
                }
                other => panic!("{other:?}"),
            }
        }
    }

    #[test]
    fn the_help_of_a_command_shows_what_counts_for_it() {
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
    fn help_and_version_are_no_errors() {
        for flag in ["--help", "-h", "--version"] {
            let arguments = ["bienvenue", flag].map(OsString::from);
            assert!(matches!(parse(arguments), Ok(Command::Print(_))), "{flag}");
        }
    }
}
