use std::path::{Path, PathBuf};

use clap::Args;

use super::values;
use crate::{
    db::DatabaseUrl,
    mail::{DeliverySettings, Destination, Sender, SmtpUrl, TIME_LIMIT, Tls},
};

/// The delivery of mail.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Mail")]
pub struct MailSettings {
    /// Folder that mails are written to, one .eml file each, unless smtp-url is set;
    /// with PostgreSQL in the working directory [default: outbox/ beside the database]
    #[arg(long, env = "BIENVENUE_OUTBOX", value_name = "FOLDER")]
    pub outbox: Option<PathBuf>,

    /// Server that mails are sent through instead: smtps://USER:PASSWORD@HOST, or
    /// smtp://HOST:587?tls=required for STARTTLS [default: none]
    #[arg(
        long,
        env = "BIENVENUE_SMTP_URL",
        value_name = "URL",
        // It may contain a password.
        hide_env_values = true
    )]
    pub smtp_url: Option<SmtpUrl>,

    /// File with the password of smtp-url, in one line, not readable by every user
    /// [default: none]
    #[arg(long, env = "BIENVENUE_SMTP_PASSWORD_FILE", value_name = "PATH")]
    pub smtp_password_file: Option<PathBuf>,

    /// Sender of mails: an address, or a name and the address in angle brackets
    /// [default: bienvenue at the host of public-url]
    #[arg(long, env = "BIENVENUE_MAIL_FROM", value_name = "ADDRESS")]
    pub mail_from: Option<Sender>,
}

impl MailSettings {
    pub(super) fn validate(&self) -> Result<(), String> {
        if self.outbox.is_some() && self.smtp_url.is_some() {
            return Err(
                "--outbox and --smtp-url are both given: write one of them, since mails have one \
                 destination"
                    .to_owned(),
            );
        }
        Ok(())
    }

    /// Adds the password from its file to the URL of the server.
    pub(super) fn read_password(&mut self) -> Result<(), String> {
        match (&self.smtp_url, &self.smtp_password_file) {
            (Some(url), None) if url.lacks_password() => Err(
                "--smtp-url names a user without a password: write smtps://USER:PASSWORD@HOST, \
                 or the password into a file that --smtp-password-file names"
                    .to_owned(),
            ),
            (Some(url), Some(_)) if url.has_password() => Err(
                "--smtp-url has a password already: remove it from the URL, or leave out \
                 --smtp-password-file"
                    .to_owned(),
            ),
            (Some(url), Some(file)) if url.lacks_password() => {
                let password = values::secret(file, "--smtp-password-file")?;
                self.smtp_url = Some(url.with_password(&password));
                Ok(())
            }
            (Some(_), Some(_)) => Err(
                "--smtp-password-file is given, and --smtp-url names no user: write \
                 smtps://USER@HOST"
                    .to_owned(),
            ),
            (None, Some(_)) => Err(
                "--smtp-password-file is given without --smtp-url: write smtps://USER@HOST, or \
                 leave it out"
                    .to_owned(),
            ),
            (_, None) => Ok(()),
        }
    }

    /// The settings of the mailer; `public_host` is the host of the links in mails.
    ///
    /// # Errors
    ///
    /// One line, when that host is not a domain name and no sender is set.
    pub fn delivery(
        &self,
        database: &DatabaseUrl,
        public_host: &str,
    ) -> Result<DeliverySettings, String> {
        let from = match &self.mail_from {
            Some(from) => from.clone(),
            None => Sender::at(public_host).map_err(|error| {
                format!("--mail-from is missing, and public-url names no mail domain: {error}")
            })?,
        };
        let destination = match (&self.smtp_url, &self.outbox) {
            (Some(url), _) => Destination::Smtp(url.clone()),
            (None, Some(folder)) => Destination::Folder(folder.clone()),
            (None, None) => Destination::Folder(match database {
                DatabaseUrl::Sqlite(path) => Path::new(path).with_file_name("outbox"),
                DatabaseUrl::Postgres(_) => PathBuf::from("outbox"),
            }),
        };
        Ok(DeliverySettings {
            from,
            destination,
            time_limit: TIME_LIMIT,
        })
    }

    pub(super) fn warning(&self) -> Option<&'static str> {
        let url = self.smtp_url.as_ref().filter(|url| !url.is_local())?;
        match url.tls() {
            Tls::Implicit | Tls::Required => None,
            Tls::Opportunistic => Some(
                "smtp-url has tls=opportunistic: an attacker on the network can switch TLS off and \
                 read mails, with their links, and the password; write tls=required",
            ),
            Tls::None => Some(
                "smtp-url is without TLS: mails with their links, and a password, are sent \
                 unencrypted; write smtps://, or add ?tls=required",
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings() -> MailSettings {
        MailSettings {
            outbox: None,
            smtp_url: None,
            smtp_password_file: None,
            mail_from: None,
        }
    }

    #[test]
    fn mails_have_one_destination() {
        let set = MailSettings {
            outbox: Some("mails".into()),
            ..settings()
        };
        for (settings, database, folder) in [
            (settings(), "sqlite:bienvenue.db", "outbox"),
            (settings(), "sqlite:/var/lib/b/b.db", "/var/lib/b/outbox"),
            (settings(), "postgres://db/b", "outbox"),
            (set, "sqlite:/var/lib/b/b.db", "mails"),
        ] {
            let delivery = settings.delivery(&database.parse().unwrap(), "localhost");
            match delivery.unwrap().destination {
                Destination::Folder(path) => assert_eq!(path, Path::new(folder)),
                Destination::Smtp(url) => panic!("{url}"),
            }
        }
        let set = MailSettings {
            smtp_url: Some("smtp://localhost".parse().unwrap()),
            ..settings()
        };
        let delivery = set.delivery(&"sqlite:b.db".parse().unwrap(), "localhost");
        assert!(matches!(
            delivery.unwrap().destination,
            Destination::Smtp(_)
        ));
    }

    #[test]
    fn the_sender_has_a_default() {
        let database = "sqlite:b.db".parse().unwrap();
        let from = |settings: &MailSettings, host| {
            let delivery = settings.delivery(&database, host)?;
            Ok::<_, String>(delivery.from.to_string())
        };
        assert_eq!(
            from(&settings(), "auth.example.com"),
            Ok("bienvenue@auth.example.com".to_owned())
        );
        let line = from(&settings(), "a_b.example.com").unwrap_err();
        assert!(line.starts_with("--mail-from is missing"), "{line}");
        let set = MailSettings {
            mail_from: Some("post@example.com".parse().unwrap()),
            ..settings()
        };
        assert_eq!(
            from(&set, "a_b.example.com"),
            Ok("post@example.com".to_owned())
        );
    }

    #[test]
    fn unencrypted_mail_is_warned_about() {
        for (url, warning) in [
            ("smtps://mail.example.com", None),
            ("smtp://mail.example.com?tls=required", None),
            ("smtp://localhost:2525", None),
            ("smtp://[::1]?tls=opportunistic", None),
            ("smtp://mail.example.com", Some("without TLS")),
            (
                "smtp://mail.example.com?tls=opportunistic",
                Some("tls=opportunistic"),
            ),
        ] {
            let settings = MailSettings {
                smtp_url: Some(url.parse().unwrap()),
                ..settings()
            };
            let said = settings.warning();
            assert_eq!(said.is_some(), warning.is_some(), "{url}");
            assert!(
                said.unwrap_or_default()
                    .contains(warning.unwrap_or_default())
            );
        }
        assert_eq!(settings().warning(), None);
    }
}
