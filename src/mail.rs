//! The delivery of a message: to a folder, where people and tests read it, or to an SMTP server.
//! Recipients, times and retries are decided by the caller.

mod advice;
mod error;
mod file_name;
mod folder;
#[cfg(feature = "smtp")]
mod guarded_stream;
mod message;
mod sender;
#[cfg(feature = "smtp")]
mod smtp;
#[cfg(not(feature = "smtp"))]
#[path = "mail/without_smtp.rs"]
mod smtp;
mod url;

use std::{fmt, path::PathBuf, sync::Arc, time::Duration};

use chrono::{DateTime, Utc};

pub use self::{
    error::{MailError, Step},
    sender::{Sender, SenderError},
    url::{SmtpUrl, SmtpUrlError, Tls},
};
use self::{folder::Folder, message::EncodedMessage, smtp::Smtp};
use crate::{clock::Clock, domain::Email};

/// The longest that the delivery to an SMTP server should take: shorter than people wait for a
/// mail before they request another.
pub const TIME_LIMIT: Duration = Duration::from_secs(30);

/// A message to one recipient, in plain text.
#[derive(Clone, PartialEq, Eq)]
pub struct Message {
    /// The recipient.
    pub to: Email,
    /// The subject; one line.
    pub subject: String,
    /// The text; lines end in `\n`. ASCII text with lines of at most 998 bytes is not encoded,
    /// so that a link can be read in the file too.
    pub body: String,
    /// The time when the secret in the text expires, and the message becomes useless; `None`
    /// for a message without a secret.
    pub expires_at: Option<DateTime<Utc>>,
}

/// Without the text, which may contain a link with a secret.
impl fmt::Debug for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Message")
            .field("to", &self.to)
            .field("subject", &self.subject)
            .finish_non_exhaustive()
    }
}

/// The destination of messages.
#[derive(Clone, Debug)]
pub enum Destination {
    /// A folder of `.eml` files, created with mode 0700 for the first message.
    Folder(PathBuf),
    /// A server.
    Smtp(SmtpUrl),
}

/// The settings for the delivery of messages.
#[derive(Clone, Debug)]
pub struct DeliverySettings {
    /// The sender.
    pub from: Sender,
    /// The destination.
    pub destination: Destination,
    /// The longest that a delivery to a server may take, from the look-up of its name to its
    /// receipt; [`TIME_LIMIT`] except in tests.
    pub time_limit: Duration,
}

/// Delivers messages. Cheap to clone.
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
    /// A mailer. It accesses neither the folder nor the network yet.
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

    /// Delivers a message: on `Ok`, it is on disk, or the server has taken responsibility for
    /// it. After an error it may have been delivered all the same, if only the receipt was
    /// lost. Each call sends a message of its own, with its own `Message-ID`.
    ///
    /// # Errors
    ///
    /// When it could not be delivered. The text is for the log: it contains advice, and neither
    /// the message nor a password.
    pub async fn send(&self, message: &Message) -> Result<(), MailError> {
        let Inner {
            from,
            clock,
            transport,
        } = &*self.0;
        let now = clock.now();
        let encoded = EncodedMessage::new(from, message, now)?;
        match transport {
            Transport::Folder(folder) => folder.store(encoded, now, message.expires_at).await,
            Transport::Smtp(smtp) => smtp.send(&encoded, message).await,
        }
    }

    /// Removes the files of expired messages, if the destination is a folder, and returns
    /// their number.
    ///
    /// # Errors
    ///
    /// When the folder cannot be read, or a file cannot be removed.
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

/// The destination, without a password.
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
