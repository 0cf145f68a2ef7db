use clap::{Args, ValueEnum};
use tracing_subscriber::filter::Targets;

/// The log.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Log (on standard error)")]
pub struct LogSettings {
    /// Format of the lines
    #[arg(
        long,
        env = "BIENVENUE_LOG_FORMAT",
        value_name = "FORMAT",
        default_value = "text",
        value_enum,
        ignore_case = true
    )]
    pub log_format: LogFormat,

    /// Least severe lines to write: error, warn, info, debug or trace, or a tracing
    /// filter such as info,bienvenue=debug; debug adds a line for each successful
    /// session check
    #[arg(
        long,
        env = "BIENVENUE_LOG",
        value_name = "FILTER",
        default_value = "info",
        value_parser = filter
    )]
    pub log: Targets,
}

/// The format of a log line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// Text for people.
    Text,
    /// A JSON object on each line.
    Json,
}

fn filter(text: &str) -> Result<Targets, String> {
    text.parse().map_err(|_| {
        "write error, warn, info, debug or trace, or a filter such as info,bienvenue=debug"
            .to_owned()
    })
}
