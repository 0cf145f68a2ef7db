use std::{num::NonZero, path::PathBuf, thread, time::Duration};

use clap::Args;

use super::values;
use crate::{
    domain::PasswordPolicy,
    passwords::{DEFAULT_SHARE, HashingSettings, MAX_COST, MAX_SHARE, MIN_COST, MIN_SHARE, Pepper},
};

/// The rules for passwords, and the cost of hashing them.
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

    /// Number of threads that hash passwords, each several at once [default: the
    /// number of cores]
    #[arg(
        long,
        env = "BIENVENUE_HASH_THREADS",
        value_name = "NUMBER",
        value_parser = values::number(1_usize..=1_024)
    )]
    pub hash_threads: Option<usize>,

    /// Longest wait of a hash: one that would wait longer than three quarters of this
    /// is refused at once, and an accepted one waits up to twice as long if the machine
    /// slows down in the meantime
    #[arg(
        long,
        env = "BIENVENUE_HASH_MAX_WAIT",
        value_name = "DURATION",
        default_value = "2s",
        value_parser = values::duration
    )]
    pub hash_max_wait: Duration,

    /// Smallest share of its threads' cores that hashing gets while hashes are waiting,
    /// in percent (1 to 50), however busy the server is with other requests, which have
    /// priority otherwise
    #[arg(
        long,
        env = "BIENVENUE_HASH_SHARE",
        value_name = "PERCENT",
        default_value_t = DEFAULT_SHARE,
        value_parser = values::number(MIN_SHARE..=MAX_SHARE)
    )]
    pub hash_share: u8,

    /// File with the secret that another service mixed into the passwords of the users
    /// imported from it (import --pepper), in one line, not readable by every user
    /// [default: none]
    #[arg(long, env = "BIENVENUE_PEPPER_FILE", value_name = "PATH")]
    pub pepper_file: Option<PathBuf>,

    #[arg(skip)]
    pepper: Option<Pepper>,
}

impl PasswordSettings {
    /// The rules for new passwords.
    pub fn policy(&self) -> PasswordPolicy {
        PasswordPolicy {
            min_length: self.password_min_length,
        }
    }

    /// Reads the secret from its file.
    pub(super) fn read_pepper(&mut self) -> Result<(), String> {
        if let Some(file) = &self.pepper_file {
            let secret = values::secret(file, "--pepper-file")?;
            self.pepper = Some(Pepper::new(secret));
        }
        Ok(())
    }

    /// The secret, after it has been read.
    pub fn pepper(&self) -> Option<Pepper> {
        self.pepper.clone()
    }

    /// Checks that an import has the secret if it needs one; if not, a file set for the service
    /// is ignored.
    ///
    /// # Errors
    ///
    /// One line with the names of the settings and advice.
    pub fn expect_pepper(
        &mut self,
        is_needed: bool,
        is_on_command_line: bool,
    ) -> Result<(), String> {
        if is_needed && self.pepper_file.is_none() {
            return Err(
                "--pepper is given without --pepper-file: write the secret into a file, and name \
                 it here and to bienvenue serve"
                    .to_owned(),
            );
        }
        if !is_needed && is_on_command_line {
            return Err(
                "--pepper-file is given without --pepper: write --pepper=flask-security or \
                 --pepper=devise, the service that mixed the secret into the passwords, or leave \
                 it out"
                    .to_owned(),
            );
        }
        if !is_needed {
            self.pepper_file = None;
        }
        Ok(())
    }

    /// The settings for hashing.
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
