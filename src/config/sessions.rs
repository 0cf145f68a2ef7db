use std::{ops::RangeInclusive, time::Duration};

use clap::Args;

use super::values;
use crate::domain::SessionLimits;

/// The lifetime of sessions.
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

    /// How often expired rows are removed: sessions, which are refused in any case, a day
    /// after they expired; reset tokens and the mails with them; old entries of
    /// the log of revocations
    #[arg(
        long,
        env = "BIENVENUE_SESSION_SWEEP",
        value_name = "DURATION",
        default_value = "1m",
        value_parser = values::duration
    )]
    pub session_sweep: Duration,

    /// Number of sessions in the session cache, so that checks need no database query;
    /// about 200 bytes each, allocated as sessions are opened
    #[arg(
        long,
        env = "BIENVENUE_SESSION_INDEX_SIZE",
        value_name = "NUMBER",
        default_value = "1000000",
        value_parser = values::number(0_usize..=1_000_000_000)
    )]
    pub session_index_size: usize,

    /// Longest time until a revocation on another node takes effect: a node without
    /// contact to the database for so long answers no checks from memory
    #[arg(
        long,
        env = "BIENVENUE_REVOCATION_MAX_LAG",
        value_name = "DURATION",
        default_value = "1s",
        value_parser = values::duration
    )]
    pub revocation_max_lag: Duration,

    /// How long the log of revocations is kept, for nodes and watchers that were
    /// disconnected
    #[arg(
        long,
        env = "BIENVENUE_REVOCATION_RETENTION",
        value_name = "DURATION",
        default_value = "1d",
        value_parser = values::duration
    )]
    pub revocation_retention: Duration,
}

/// The shortest lag that a node on a busy machine can keep most of the time, and the longest
/// acceptable delay of a logout.
const LAGS: RangeInclusive<Duration> = Duration::from_millis(100)..=Duration::from_secs(60);

impl SessionSettings {
    pub(super) fn validate(&self) -> Result<(), String> {
        if self.session_idle > self.session_absolute {
            return Err(
                "--session-idle is longer than --session-absolute: write the same or less, since \
                 a session that has ended cannot be idle"
                    .to_owned(),
            );
        }
        if !LAGS.contains(&self.revocation_max_lag) {
            return Err(
                "--revocation-max-lag is not from 100ms to 1m: write 1s, for example".to_owned(),
            );
        }
        if self.revocation_retention < self.revocation_max_lag {
            return Err(
                "--revocation-retention is shorter than --revocation-max-lag: write more, since \
                 a node has to find in the log what it has not yet read"
                    .to_owned(),
            );
        }
        Ok(())
    }

    /// The idle and the absolute limit.
    pub fn limits(&self) -> SessionLimits {
        SessionLimits {
            idle: self.session_idle,
            absolute: self.session_absolute,
        }
    }
}
