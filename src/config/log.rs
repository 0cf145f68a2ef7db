use clap::{Args, ValueEnum};
use tracing_subscriber::filter::Targets;

/// The name of the lines on requests that changed something, or failed for a cause of the
/// service's own.
pub const REQUEST_LINE: &str = "request";

/// The name of the lines on all other requests, which may be lost before any other line.
pub const EXPENDABLE_LINE: &str = "expendable request";

/// What it tells its operator.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Log (on standard error)")]
pub struct LogSettings {
    /// How each line is written
    #[arg(
        long,
        env = "BIENVENUE_LOG_FORMAT",
        value_name = "FORMAT",
        default_value = "text",
        value_enum,
        ignore_case = true
    )]
    pub log_format: LogFormat,

    /// What is written: error, warn, info, debug or trace, or a tracing filter
    /// such as info,bienvenue=debug; debug adds a line for each successful
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

/// How a log line is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

fn filter(text: &str) -> Result<Targets, String> {
    text.parse().map_err(|_| {
        "write error, warn, info, debug or trace, or a filter such as info,bienvenue=debug"
            .to_owned()
    })
}
