//! The place of an SMTP server in a build without the feature `smtp`.

use std::{convert::Infallible, fmt, time::Duration};

use super::{Message, SmtpUrl, error::MailError, message::EncodedMessage, sender::Sender};

/// A server, which this build cannot deliver to.
pub(super) struct Smtp(Infallible);

impl Smtp {
    pub(super) fn new(_: SmtpUrl, _: &Sender, _: Duration) -> Result<Self, MailError> {
        Err(MailError::NotBuilt)
    }

    pub(super) async fn send(&self, _: &EncodedMessage, _: &Message) -> Result<(), MailError> {
        match self.0 {}
    }
}

impl fmt::Display for Smtp {
    fn fmt(&self, _: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {}
    }
}
