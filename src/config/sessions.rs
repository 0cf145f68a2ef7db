use std::time::Duration;

use clap::Args;

use super::values;
use crate::domain::SessionLimits;

/// How long sessions live.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Sessions")]
pub struct SessionSettings {
    /// Longest time that a session lives without being checked
    #[arg(
        long,
        env = "BIENVENUE_SESSION_IDLE",
        value_name = "DURATION",
        default_value = "7d",
        value_parser = values::duration
    )]
    pub session_idle: Duration,

    /// Longest time that a session lives at all; NIST asks for 30 days at most
    #[arg(
        long,
        env = "BIENVENUE_SESSION_ABSOLUTE",
        value_name = "DURATION",
        default_value = "30d",
        value_parser = values::duration
    )]
    pub session_absolute: Duration,

    /// How often to remove expired sessions, which are refused anyway, from
    /// the table
    #[arg(
        long,
        env = "BIENVENUE_SESSION_SWEEP",
        value_name = "DURATION",
        default_value = "1m",
        value_parser = values::duration
    )]
    pub session_sweep: Duration,
}

impl SessionSettings {
    pub(super) fn validate(&self) -> Result<(), String> {
        if self.session_idle > self.session_absolute {
            return Err(
                "--session-idle is longer than --session-absolute: write the same or less, since \
                 a session that has ended cannot be idle"
                    .to_owned(),
            );
        }
        Ok(())
    }

    /// The two limits.
    pub fn limits(&self) -> SessionLimits {
        SessionLimits {
            idle: self.session_idle,
            absolute: self.session_absolute,
        }
    }
}
