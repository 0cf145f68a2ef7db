//! The settings, with their defaults and limits. Each is a flag `--x-y` and a variable
//! `BIENVENUE_X_Y`, validated once at the start. No other module reads the environment.

mod admin;
mod database;
pub mod environment;
mod limits;
mod log;
mod mail;
mod network;
mod passwords;
mod resets;
mod sessions;
mod values;

use std::borrow::Cow;

use clap::Args;

use crate::{domain::PublicUrl, mail::SmtpUrl};

pub use self::{
    admin::AdminSettings,
    database::{DatabaseSettings, with_password},
    limits::LimitSettings,
    log::{LogFormat, LogSettings},
    mail::MailSettings,
    network::{NetworkSettings, Reflection},
    passwords::PasswordSettings,
    resets::{ResetDelivery, ResetSettings},
    sessions::SessionSettings,
};

/// All settings.
#[derive(Args, Clone, Debug)]
pub struct Config {
    /// The listener and its clients.
    #[command(flatten)]
    pub network: NetworkSettings,
    /// The internal listener, for your own services.
    #[command(flatten)]
    pub admin: AdminSettings,
    /// The database.
    #[command(flatten)]
    pub database: DatabaseSettings,
    /// The rules for passwords, and the cost of hashing them.
    #[command(flatten)]
    pub passwords: PasswordSettings,
    /// The lifetime of sessions.
    #[command(flatten)]
    pub sessions: SessionSettings,
    /// The reset of forgotten passwords.
    #[command(flatten)]
    pub resets: ResetSettings,
    /// The delivery of mail.
    #[command(flatten)]
    pub mail: MailSettings,
    /// The limits of the transport.
    #[command(flatten)]
    pub limits: LimitSettings,
    /// The log.
    #[command(flatten)]
    pub log: LogSettings,
    /// Warnings about passwords on the command line.
    #[arg(skip)]
    password_warnings: Vec<&'static str>,
    /// Environment variables with the prefix of settings that are not settings.
    #[arg(skip)]
    pub unknown_variables: Vec<String>,
}

impl Config {
    /// Reads the secrets in files, and notes warnings about passwords on the command line, which
    /// every user of the machine can read in the list of processes: `is_on_command_line` tells
    /// by a setting's name whether its value was given there.
    ///
    /// # Errors
    ///
    /// One line with the name of the setting and advice.
    pub fn read_secrets(
        &mut self,
        is_on_command_line: impl Fn(&str) -> bool,
    ) -> Result<(), String> {
        if self.database.database_url.holds_secret() && is_on_command_line("database_url") {
            self.password_warnings.push(
                "database-url was given on the command line with a password, which every user \
                 of this machine can read in the list of processes: give the URL in \
                 DATABASE_URL, or the password in database-password-file",
            );
        }
        let smtp_url = self.mail.smtp_url.as_ref();
        if smtp_url.is_some_and(SmtpUrl::has_password) && is_on_command_line("smtp_url") {
            self.password_warnings.push(
                "smtp-url was given on the command line with a password, which every user of \
                 this machine can read in the list of processes: give the URL in \
                 BIENVENUE_SMTP_URL, or the password in smtp-password-file",
            );
        }
        self.admin.read_token()?;
        self.database.read_password()?;
        self.passwords.read_pepper()?;
        self.mail.read_password()
    }

    /// Checks the combination of settings.
    ///
    /// # Errors
    ///
    /// One line with the names of the settings and advice.
    pub fn validate(&self) -> Result<(), String> {
        self.sessions.validate()?;
        self.admin.validate()?;
        self.mail.validate()?;
        self.limits.validate()?;
        let public_host = self.network.public_url(0).host();
        self.mail
            .delivery(&self.database.database_url, &public_host)?;
        if self.passwords.hash_max_wait >= self.limits.request_timeout {
            return Err(
                "--hash-max-wait is not shorter than --request-timeout: write less, since a hash \
                 cannot wait longer than the whole request may take"
                    .to_owned(),
            );
        }
        Ok(())
    }

    /// The warnings about passwords on the command line, after
    /// [`read_secrets`](Self::read_secrets).
    pub fn password_warnings(&self) -> &[&'static str] {
        &self.password_warnings
    }

    /// The maximum number of blocking threads: one for each connection to the database, as many
    /// for abandoned connections, and a few others.
    pub fn blocking_threads(&self) -> usize {
        2 * self.database.database_connections as usize + 16
    }

    /// Warnings about settings that are allowed but unwise, and about unknown variables.
    pub fn warnings(&self) -> Vec<Cow<'static, str>> {
        let unknown = self.unknown_variables.iter().map(|name| {
            Cow::Owned(format!(
                "{name} is set in the environment but is not a setting; bienvenue --help lists them"
            ))
        });
        let known = self.unwise().into_iter().map(Cow::Borrowed);
        unknown.chain(known).collect()
    }

    /// Warnings about settings that are allowed but unwise.
    fn unwise(&self) -> Vec<&'static str> {
        let mut warnings = self.password_warnings.clone();
        if self.passwords.bcrypt_cost < 10 {
            warnings.push(
                "bcrypt-cost is below 10: stolen hashes can be guessed fast; \
                 use at least 10 for real accounts",
            );
        }
        if self.passwords.bcrypt_cost > 14 {
            warnings.push(
                "bcrypt-cost is over 14: a login takes seconds of a core, and may take longer \
                 than request-timeout allows",
            );
        }
        if self.resets.reset_delivery == ResetDelivery::Response {
            warnings.push(
                "reset-delivery is response: every client that can reach this port can set any \
                 user's password and find out which addresses have an account; use it on a \
                 trusted network only",
            );
        }
        if !self.network.listen.ip().is_loopback() {
            warnings.push(
                "listening beyond this machine without TLS: put a proxy that terminates TLS in front",
            );
            if self.network.public_url.is_none() {
                warnings.push(
                    "public-url is not set: links in mails lead to localhost, which is another \
                     machine for their recipients; set it to the URL that browsers use",
                );
            }
        }
        let admin_listen = self.admin.admin_listen;
        if admin_listen.is_some_and(|address| !address.ip().is_loopback()) {
            warnings.push(
                "admin-listen is beyond this machine without TLS: the token is sent unencrypted; \
                 use a private network, or a proxy that terminates TLS",
            );
        }
        if self
            .network
            .public_url
            .as_ref()
            .is_some_and(PublicUrl::is_readable)
        {
            warnings.push(
                "public-url is http:// beyond this machine: cookies and links with reset tokens \
                 are sent unencrypted; put a proxy that terminates TLS in front, and write https://",
            );
        }
        warnings.extend(self.mail.warning());
        warnings
    }
}
