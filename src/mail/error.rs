//! The errors of sending a message.

use std::{fmt, io, path::PathBuf, time::Duration};

use thiserror::Error;

use super::advice;
use crate::domain::on_one_line;

/// The longest quotation from a server's reply, in bytes.
const MAX_QUOTE_BYTES: usize = 200;

/// The shortest piece of a message to remove from a quotation, in bytes. Shorter ones are words,
/// host names or unusably small parts of a secret.
const MIN_SECRET_BYTES: usize = 16;

/// Marks an omission.
const CUT: &str = "\u{2026}";

/// The reason why a message was not delivered. The text is for the log and contains neither a
/// password nor any part of the message.
#[derive(Debug, Error)]
pub enum MailError {
    /// The server refused a command.
    #[error("{server} refused {step}: {code} {words}{}", advice::on_refusal(*step, *code))]
    Refused {
        /// The server's URL without a password.
        server: String,
        /// The refused step.
        step: Step,
        /// The reply code, 400 to 599.
        code: u16,
        /// The text of the reply, on one line of at most 200 bytes.
        words: String,
    },
    /// The server could not be reached, its certificate was not valid, or it did not speak SMTP.
    #[error("{server} failed at {step}: {cause}{}", advice::on_failure(*step))]
    Unreachable {
        /// The server's URL without a password.
        server: String,
        /// The step in progress.
        step: Step,
        /// The cause, on one line of at most 200 bytes.
        cause: String,
    },
    /// The server was too slow.
    #[error(
        "{server} did not complete {step} within {time_limit:?}{}", advice::on_time_out(*step)
    )]
    TimedOut {
        /// The server's URL without a password.
        server: String,
        /// The step in progress.
        step: Step,
        /// The time limit of the delivery.
        time_limit: Duration,
    },
    /// The file could not be written.
    #[error(
        "no mail can be written to {}: {cause}; make it a folder with free space that the \
         service may write to, or name another with --outbox", path.display()
    )]
    Folder {
        /// The folder.
        path: PathBuf,
        /// The cause.
        #[source]
        cause: io::Error,
    },
    /// Expired messages stay in the folder.
    #[error(
        "mails with expired secrets cannot be removed from {}: {cause}; let the service read the \
         folder and remove files in it, or remove them", path.display()
    )]
    Expired {
        /// The folder.
        path: PathBuf,
        /// The cause.
        #[source]
        cause: io::Error,
    },
    /// This program was built without SMTP.
    #[error(
        "this program was built without SMTP; leave out --smtp-url, or build it with the feature \
         smtp"
    )]
    NotBuilt,
    /// TLS cannot be set up on this machine.
    #[error("TLS for mail cannot be set up: {0}")]
    Tls(String),
    /// The library does not accept the recipient; this is a bug.
    #[error("no mail can be written to this address")]
    Unwritable,
    /// The operating system provides no random bytes.
    #[error("no random bytes for a mail: {0}")]
    Randomness(#[source] getrandom::Error),
}

impl MailError {
    /// Whether a retry is useless: the server has refused the recipient or the text with a
    /// permanent reply (RFC 5321, 4.2.1). A permanent reply at another step is about the
    /// settings, which are the same for every message and can be corrected.
    pub fn is_permanent(&self) -> bool {
        match self {
            Self::Refused {
                step: Step::Recipient | Step::Message,
                code,
                ..
            } => (500..600).contains(code) && !advice::LOGIN_CODES.contains(code),
            Self::Unwritable => true,
            _ => false,
        }
    }
}

/// A step of the delivery to a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Name look-up, connection and greeting.
    Connection,
    /// The start of TLS, including the certificate.
    Encryption,
    /// The choice of a mechanism for the login.
    Mechanism,
    /// The user and the password.
    Login,
    /// The sender's address.
    Sender,
    /// The recipient's address.
    Recipient,
    /// The text of the message.
    Message,
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Connection => "the connection",
            Self::Encryption => "TLS",
            Self::Mechanism | Self::Login => "the login",
            Self::Sender => "the sender",
            Self::Recipient => "the recipient",
            Self::Message => "the message",
        })
    }
}

/// A server's reply for the log, on one short line and without parts of the message: filters often
/// quote the link that they object to.
pub(super) fn quote(words: &str, secrets: &[&str]) -> String {
    let is_secret = |piece: &str| {
        piece.len() >= MIN_SECRET_BYTES && secrets.iter().any(|secret| secret.contains(piece))
    };
    let ends_piece = |c: char| !(c.is_ascii_alphanumeric() || c == '-' || c == '_');
    let mut quoted = String::new();
    for part in on_one_line(words).split_inclusive(ends_piece) {
        let piece = part.trim_end_matches(ends_piece);
        quoted.push_str(if is_secret(piece) { CUT } else { piece });
        quoted.push_str(&part[piece.len()..]);
    }
    if quoted.len() > MAX_QUOTE_BYTES {
        quoted.truncate(quoted.floor_char_boundary(MAX_QUOTE_BYTES));
        quoted.push_str(CUT);
    }
    quoted
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn only_a_refusal_of_the_message_itself_is_permanent() {
        for (step, code, is_permanent) in [
            (Step::Recipient, 550, true),
            (Step::Recipient, 552, true),
            (Step::Message, 554, true),
            (Step::Message, 599, true),
            (Step::Recipient, 450, false),
            (Step::Message, 452, false),
            (Step::Recipient, 530, false),
            (Step::Message, 535, false),
            (Step::Sender, 550, false),
            (Step::Login, 535, false),
            (Step::Encryption, 502, false),
            (Step::Connection, 554, false),
        ] {
            let error = MailError::Refused {
                server: "smtp://localhost:25".to_owned(),
                step,
                code,
                words: String::new(),
            };
            assert_eq!(error.is_permanent(), is_permanent, "{error}");
        }
        let late = MailError::TimedOut {
            server: "smtp://localhost:25".to_owned(),
            step: Step::Message,
            time_limit: Duration::from_secs(1),
        };
        assert!(!late.is_permanent() && MailError::Unwritable.is_permanent());
    }

    #[test]
    fn a_reply_is_quoted_on_one_line_without_the_message() {
        let body = "Go to https://auth.example.com/reset?token=rst_0123456789abcdefghij within";
        for (words, quoted) in [
            ("5.1.1 no such user", "5.1.1 no such user"),
            ("a\r\nb\u{1b}[31m\u{202E}c", "a b\\u{1b}[31m\\u{202e}c"),
            (
                "<https://auth.example.com/reset?token=rst_0123456789abcdefghij> is listed",
                "<https://auth.example.com/reset?token=\u{2026}> is listed",
            ),
            ("bad: rst_0123456789abcd", "bad: \u{2026}"),
            (
                "see https://filter.example/why",
                "see https://filter.example/why",
            ),
        ] {
            assert_eq!(quote(words, &[body]), quoted);
        }
        assert_eq!(
            quote(&"\u{E9}".repeat(500), &[]),
            format!("{}\u{2026}", "\u{E9}".repeat(100))
        );
    }

    proptest! {
        #[test]
        fn a_quotation_is_one_short_line(words in any::<String>(), secret in any::<String>()) {
            let quoted = quote(&words, &[&secret]);
            prop_assert!(quoted.len() <= MAX_QUOTE_BYTES + CUT.len());
            prop_assert!(!quoted.contains(char::is_control));
        }
    }
}
