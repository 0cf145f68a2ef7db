//! Every setting: a flag `--x-y` and a variable `BIENVENUE_X_Y`, validated once
//! at start. No other room reads the environment.

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
    log::{EXPENDABLE_LINE, LogFormat, LogSettings, REQUEST_LINE},
    mail::MailSettings,
    network::{NetworkSettings, Reflection},
    passwords::PasswordSettings,
    resets::{ResetDelivery, ResetSettings},
    sessions::SessionSettings,
};

/// All that an operator can set.
#[derive(Args, Clone, Debug)]
pub struct Config {
    /// Where it listens and to whom it answers.
    #[command(flatten)]
    pub network: NetworkSettings,
    /// Where your own services are told of revocations.
    #[command(flatten)]
    pub admin: AdminSettings,
    /// Where it keeps its data.
    #[command(flatten)]
    pub database: DatabaseSettings,
    /// What passwords may be and what hashing them may cost.
    #[command(flatten)]
    pub passwords: PasswordSettings,
    /// How long sessions live.
    #[command(flatten)]
    pub sessions: SessionSettings,
    /// How a forgotten password is replaced.
    #[command(flatten)]
    pub resets: ResetSettings,
    /// How it reaches people.
    #[command(flatten)]
    pub mail: MailSettings,
    /// What one caller may ask of the transport.
    #[command(flatten)]
    pub limits: LimitSettings,
    /// What it tells its operator.
    #[command(flatten)]
    pub log: LogSettings,
    /// What to say of the passwords that stand on the command line.
    #[arg(skip)]
    visible_passwords: Vec<&'static str>,
    /// Variables that look like settings and are none.
    #[arg(skip)]
    pub unknown_variables: Vec<String>,
}

impl Config {
    /// Reads the passwords that stand in files, after noting those that every user of the
    /// machine can read in the list of processes: `is_on_command_line` tells by a
    /// setting's name where its value is from.
    ///
    /// # Errors
    ///
    /// One line that names the setting and says what to write instead.
    pub fn read_passwords(
        &mut self,
        is_on_command_line: impl Fn(&str) -> bool,
    ) -> Result<(), String> {
        if self.database.database_url.holds_secret() && is_on_command_line("database_url") {
            self.visible_passwords.push(
                "database-url was given on the command line with a password, which every user \
                 of this machine can read in the list of processes: give the URL in \
                 DATABASE_URL, or the password in database-password-file",
            );
        }
        let smtp_url = self.mail.smtp_url.as_ref();
        if smtp_url.is_some_and(SmtpUrl::has_password) && is_on_command_line("smtp_url") {
            self.visible_passwords.push(
                "smtp-url was given on the command line with a password, which every user of \
                 this machine can read in the list of processes: give the URL in \
                 BIENVENUE_SMTP_URL, or the password in smtp-password-file",
            );
        }
        self.database.read_password()?;
        self.passwords.read_pepper()?;
        self.mail.read_password()
    }

    /// Checks what no setting can check alone.
    ///
    /// # Errors
    ///
    /// One line that names the settings and says what to write instead.
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
                "--hash-max-wait is not shorter than --request-timeout: write less, since nobody \
                 waits longer than the whole request may take"
                    .to_owned(),
            );
        }
        Ok(())
    }

    /// What to say of the passwords that stand on the command line, once they are read.
    pub fn visible_passwords(&self) -> &[&'static str] {
        &self.visible_passwords
    }

    /// How many threads may block at once: one for each connection to the
    /// database, as many for connections that were given up, and a few for the rest.
    pub fn blocking_threads(&self) -> usize {
        2 * self.database.database_connections as usize + 16
    }

    /// What an operator should know although it is allowed.
    pub fn warnings(&self) -> Vec<Cow<'static, str>> {
        let unknown = self.unknown_variables.iter().map(|name| {
            Cow::Owned(format!(
                "{name} is set in the environment and is no setting; bienvenue --help lists them"
            ))
        });
        let known = self.unwise().into_iter().map(Cow::Borrowed);
        unknown.chain(known).collect()
    }

    /// Warnings of settings that are allowed and unwise.
    fn unwise(&self) -> Vec<&'static str> {
        let mut warnings = self.visible_passwords.clone();
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
                "reset-delivery is response: whoever can reach this port can set anybody's \
                 password and learn who has an account; use it on a trusted network only",
            );
        }
        if !self.network.listen.ip().is_loopback() {
            warnings.push(
                "listening beyond this machine without TLS: put a proxy that ends TLS in front",
            );
            if self.network.public_url.is_none() {
                warnings.push(
                    "public-url is not set: links in mails lead to localhost, which is another \
                     machine for those who open them; set it to what their browsers know",
                );
            }
        }
        let admin_listen = self.admin.admin_listen;
        if admin_listen.is_some_and(|address| !address.ip().is_loopback()) {
            warnings.push(
                "admin-listen is beyond this machine without TLS: the token travels readable; \
                 use a network that nobody else is on, or a proxy that ends TLS",
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
                 travel readable; put a proxy that ends TLS in front, and write https://",
            );
        }
        warnings.extend(self.mail.warning());
        warnings
    }
}
