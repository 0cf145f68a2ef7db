//! Handing one message on: to a folder, where people and tests read it, or to
//! an SMTP server. Whom to mail, when, and what to try again, others decide.

mod advice;
mod error;
mod file_name;
mod folder;
mod guarded;
mod message;
mod sender;
mod smtp;
mod url;

use std::{fmt, path::PathBuf, sync::Arc, time::Duration};

use chrono::{DateTime, Utc};

pub use self::{
    error::{MailError, Step},
    sender::{Sender, SenderError},
    url::{SmtpUrl, SmtpUrlError, Tls},
};
use self::{folder::Folder, message::Letter, smtp::Smtp};
use crate::{clock::Clock, domain::Email};

/// The longest that handing a message to an SMTP server should take; shorter
/// than a person waits for a mail before asking for another.
pub const TIME_LIMIT: Duration = Duration::from_secs(30);

/// A message to one person, in plain text.
#[derive(Clone, PartialEq, Eq)]
pub struct Message {
    /// The one recipient.
    pub to: Email,
    /// What it is about; one line.
    pub subject: String,
    /// The text; lines end in `\n`. ASCII text with lines of at most 998 bytes
    /// arrives as it is, so that a link in it can be read in the file too.
    pub body: String,
    /// When the secret in the text expires, and the message is of no more use; `None` where
    /// it holds no secret.
    pub expires_at: Option<DateTime<Utc>>,
}

/// Without the text, which may hold the secret of a link.
impl fmt::Debug for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Message")
            .field("to", &self.to)
            .field("subject", &self.subject)
            .finish_non_exhaustive()
    }
}

/// Where messages go.
#[derive(Clone, Debug)]
pub enum Destination {
    /// A folder of `.eml` files, made (mode 0700) when there is a message.
    Folder(PathBuf),
    /// A server that takes it from there.
    Smtp(SmtpUrl),
}

/// How messages are handed on.
#[derive(Clone, Debug)]
pub struct DeliverySettings {
    /// Whom they are from.
    pub from: Sender,
    /// Where they go.
    pub destination: Destination,
    /// The longest that one may take to be handed to a server, from looking
    /// its name up to its receipt; [`TIME_LIMIT`] but in tests.
    pub time_limit: Duration,
}

/// Hands messages on. Cheap to clone.
#[derive(Clone)]
pub struct Mailer(Arc<Inner>);

struct Inner {
    from: Sender,
    clock: Clock,
    transport: Transport,
}

enum Transport {
    Folder(Folder),
    Smtp(Smtp),
}

impl Mailer {
    /// Gets ready; touches neither the folder nor the network.
    ///
    /// # Errors
    ///
    /// When TLS cannot be set up.
    pub fn new(settings: DeliverySettings, clock: Clock) -> Result<Self, MailError> {
        let DeliverySettings {
            from,
            destination,
            time_limit,
        } = settings;
        let transport = match destination {
            Destination::Folder(path) => Transport::Folder(Folder::new(path)),
            Destination::Smtp(url) => Transport::Smtp(Smtp::new(url, &from, time_limit)?),
        };
        Ok(Self(Arc::new(Inner {
            from,
            clock,
            transport,
        })))
    }

    /// Hands one message on. Done means that it is on disk, or that the server
    /// answers for it. After an error it may have been delivered all the same,
    /// where only the receipt was lost. Each call is a message of its own, with
    /// its own `Message-ID`.
    ///
    /// # Errors
    ///
    /// When it could not be handed on. The text is for the log: it says what
    /// to do and holds neither the message nor a password.
    pub async fn send(&self, message: &Message) -> Result<(), MailError> {
        let Inner {
            from,
            clock,
            transport,
        } = &*self.0;
        let now = clock.now();
        let letter = Letter::write(from, message, now)?;
        match transport {
            Transport::Folder(folder) => folder.keep(letter, now, message.expires_at).await,
            Transport::Smtp(smtp) => smtp.send(&letter, message).await,
        }
    }

    /// Removes the files of messages that have expired by now, where messages go to a
    /// folder; returns how many there were.
    ///
    /// # Errors
    ///
    /// When the folder cannot be read, or a file not be removed.
    pub async fn remove_expired(&self) -> Result<usize, MailError> {
        let Inner {
            clock, transport, ..
        } = &*self.0;
        match transport {
            Transport::Folder(folder) => folder.remove_expired(clock.now()).await,
            Transport::Smtp(_) => Ok(0),
        }
    }
}

/// Where messages go, for people; no password.
impl fmt::Display for Mailer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0.transport {
            Transport::Folder(folder) => write!(f, "the folder {folder}"),
            Transport::Smtp(smtp) => write!(f, "{smtp}"),
        }
    }
}

impl fmt::Debug for Mailer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Mailer({self})")
    }
}
