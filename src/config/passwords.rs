use std::{num::NonZero, thread, time::Duration};

use clap::Args;

use super::values;
use crate::{
    domain::PasswordPolicy,
    passwords::{DEFAULT_SHARE, HashingSettings, MAX_COST, MAX_SHARE, MIN_COST, MIN_SHARE},
};

/// What passwords may be and what hashing them may cost.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Passwords")]
pub struct PasswordSettings {
    /// bcrypt cost of new hashes, 4 to 16: each step doubles the time of a
    /// login and of a thief's guess
    #[arg(
        long,
        env = "BIENVENUE_BCRYPT_COST",
        value_name = "COST",
        default_value = "12",
        value_parser = values::number(MIN_COST..=MAX_COST)
    )]
    pub bcrypt_cost: u32,

    /// Fewest characters (code points) of a new password; NIST asks for 15
    /// where there is no second factor
    #[arg(
        long,
        env = "BIENVENUE_PASSWORD_MIN_LENGTH",
        value_name = "NUMBER",
        default_value = "8",
        value_parser = values::number(1_usize..=256)
    )]
    pub password_min_length: usize,

    /// How many threads hash passwords, each several at once [default: the
    /// number of cores]
    #[arg(
        long,
        env = "BIENVENUE_HASH_THREADS",
        value_name = "NUMBER",
        value_parser = values::number(1_usize..=1_024)
    )]
    pub hash_threads: Option<usize>,

    /// Longest that a hash may have to wait, by forecast; a hash that would wait
    /// longer is refused at once. One that was let in waits up to twice as long
    /// where the machine slows down meanwhile
    #[arg(
        long,
        env = "BIENVENUE_HASH_MAX_WAIT",
        value_name = "DURATION",
        default_value = "2s",
        value_parser = values::duration
    )]
    pub hash_max_wait: Duration,

    /// Least part of its threads' cores that hashing gets while somebody waits for a
    /// hash, in percent (1 to 50), however busy the server is with other requests; up to
    /// there it gives way to them
    #[arg(
        long,
        env = "BIENVENUE_HASH_SHARE",
        value_name = "PERCENT",
        default_value_t = DEFAULT_SHARE,
        value_parser = values::number(MIN_SHARE..=MAX_SHARE)
    )]
    pub hash_share: u8,
}

impl PasswordSettings {
    /// Which passwords may be set.
    pub fn policy(&self) -> PasswordPolicy {
        PasswordPolicy {
            min_length: self.password_min_length,
        }
    }

    /// What hashing may cost.
    pub fn hashing(&self) -> HashingSettings {
        let cores = || thread::available_parallelism().map_or(1, NonZero::get);
        HashingSettings {
            cost: self.bcrypt_cost,
            threads: self.hash_threads.unwrap_or_else(cores),
            max_wait: self.hash_max_wait,
            share: self.hash_share,
        }
    }
}
