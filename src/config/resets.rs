use std::time::Duration;

use clap::{Args, ValueEnum};

use super::values;

/// How a forgotten password is replaced.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Password reset")]
pub struct ResetSettings {
    /// How long a reset token is good, an hour at most
    #[arg(
        long,
        env = "BIENVENUE_RESET_TTL",
        value_name = "DURATION",
        default_value = "10m",
        value_parser = ttl
    )]
    pub reset_ttl: Duration,

    /// What POST /reset_password answers with: mail says the same of every
    /// address and mails the token; response gives the token to whoever asks,
    /// for a trusted network or a class room
    #[arg(
        long,
        env = "BIENVENUE_RESET_DELIVERY",
        value_name = "HOW",
        default_value = "mail",
        value_enum,
        ignore_case = true
    )]
    pub reset_delivery: ResetDelivery,
}

/// How a reset token reaches its user.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ResetDelivery {
    /// By mail to the stored address.
    Mail,
    /// In the answer to whoever asks over HTTP.
    Response,
}

/// NIST SP 800-63B-4, 4.2.2, would allow a day; a link in a mailbox is worth
/// more to a thief than to its user by then.
const MAX_TTL: Duration = Duration::from_secs(3_600);

fn ttl(text: &str) -> Result<Duration, String> {
    values::duration(text)
        .ok()
        .filter(|ttl| *ttl <= MAX_TTL)
        .ok_or_else(|| "write a duration such as 10m, up to 1h".to_owned())
}
