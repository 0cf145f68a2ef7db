use std::time::Duration;

use clap::{Args, ValueEnum};

use super::values;

/// The reset of forgotten passwords.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Password reset")]
pub struct ResetSettings {
    /// Lifetime of a reset token, an hour at most
    #[arg(
        long,
        env = "BIENVENUE_RESET_TTL",
        value_name = "DURATION",
        default_value = "10m",
        value_parser = ttl
    )]
    pub reset_ttl: Duration,

    /// How POST /reset_password delivers the token: mail sends it to the address, with
    /// the same reply for every address; response returns it to every caller, for a
    /// trusted network or a class room
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

/// The delivery of a reset token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ResetDelivery {
    /// By mail to the stored address.
    Mail,
    /// In the reply to the HTTP request.
    Response,
}

/// The longest lifetime. NIST SP 800-63B-4, 4.2.2, allows a day, but after an hour a link in a
/// mailbox is of more use to a thief than to its owner.
const MAX_TTL: Duration = Duration::from_secs(3_600);

fn ttl(text: &str) -> Result<Duration, String> {
    values::duration(text)
        .ok()
        .filter(|ttl| *ttl <= MAX_TTL)
        .ok_or_else(|| "write a duration such as 10m, up to 1h".to_owned())
}
