//! The encoding of a message (RFC 5322).

use chrono::{DateTime, Utc};
use lettre::{
    Address,
    message::{
        Body,
        header::{ContentTransferEncoding, ContentType, HeaderName, HeaderValue, MIME_VERSION_1_0},
    },
};

use super::{
    Message,
    error::MailError,
    sender::{Sender, address},
};

/// The longest line without its line end, in bytes (RFC 5322, 2.1.1).
const MAX_LINE_BYTES: usize = 998;

/// A message with its headers and its envelope.
pub(super) struct EncodedMessage {
    pub(super) from: Address,
    pub(super) to: Address,
    pub(super) bytes: Vec<u8>,
}

impl EncodedMessage {
    /// Encodes a message, dated `now`, with a new `Message-ID`.
    ///
    /// # Errors
    ///
    /// When there are no random bytes, or no header can contain the recipient.
    pub(super) fn new(
        from: &Sender,
        message: &Message,
        now: DateTime<Utc>,
    ) -> Result<Self, MailError> {
        let to = address(&message.to).ok_or(MailError::Unwritable)?;
        let id = format!("<{}@{}>", random_name()?, from.host());
        let automatic = HeaderValue::new(
            HeaderName::new_from_ascii_str("Auto-Submitted"),
            "auto-generated".to_owned(),
        );
        let encoded = lettre::Message::builder()
            .from(from.mailbox().clone())
            .to(to.clone().into())
            .subject(message.subject.as_str())
            .date(now.into())
            .message_id(Some(id))
            .raw_header(automatic)
            .header(MIME_VERSION_1_0)
            .header(ContentType::TEXT_PLAIN)
            .body(body(&message.body))
            .map_err(|_| MailError::Unwritable)?;
        Ok(Self {
            from: from.mailbox().email.clone(),
            to,
            bytes: encoded.formatted(),
        })
    }
}

/// The body. ASCII text is encoded here: the library would break a line of over 76 bytes, and
/// with it a link.
fn body(text: &str) -> Body {
    let text = text.replace("\r\n", "\n").replace('\r', "\n");
    let fits = text.lines().all(|line| line.len() <= MAX_LINE_BYTES);
    if fits && text.is_ascii() {
        let bytes = text.replace('\n', "\r\n").into_bytes();
        Body::dangerous_pre_encoded(bytes, ContentTransferEncoding::SevenBit)
    } else {
        Body::new(text)
    }
}

/// 128 random bits in hexadecimal.
pub(super) fn random_name() -> Result<String, MailError> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).map_err(MailError::Randomness)?;
    Ok(format!("{:032x}", u128::from_be_bytes(bytes)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::Email;

    fn written(subject: &str, body: &str) -> String {
        let from = "Bienvenue <bienvenue@example.com>".parse().unwrap();
        let message = Message {
            to: Email::parse("ada@example.com").unwrap(),
            subject: subject.to_owned(),
            body: body.to_owned(),
            expires_at: None,
        };
        let now = DateTime::from_timestamp_secs(1_795_222_842).unwrap();
        let encoded = EncodedMessage::new(&from, &message, now).unwrap();
        String::from_utf8(encoded.bytes).unwrap()
    }

    #[test]
    fn an_ascii_message_is_not_encoded() {
        let link = format!("https://example.com/{}", "a".repeat(900));
        let text = written("Hello", &format!("Go here:\n\n{link}\n.\n"));
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        let (before, rest) = head.split_once("Message-ID: <").unwrap();
        let (id, after) = rest.split_once("\r\n").unwrap();
        assert_eq!(
            format!("{before}{after}"),
            "From: Bienvenue <bienvenue@example.com>\r\n\
             To: ada@example.com\r\n\
             Subject: Hello\r\n\
             Date: Sat, 21 Nov 2026 01:00:42 +0000\r\n\
             Auto-Submitted: auto-generated\r\n\
             MIME-Version: 1.0\r\n\
             Content-Type: text/plain; charset=utf-8\r\n\
             Content-Transfer-Encoding: 7bit"
        );
        assert_eq!(id.len(), 32 + "@example.com>".len());
        assert!(id.ends_with("@example.com>"));
        assert_eq!(body, format!("Go here:\r\n\r\n{link}\r\n.\r\n"));
        assert!(!written("Hello", "").contains(id), "each has its own id");
    }

    #[test]
    fn other_messages_are_encoded() {
        for body in ["\u{C0} bient\u{F4}t\n".to_owned(), "a".repeat(999)] {
            let text = written("Hello", &body);
            assert!(!text.contains("7bit") && text.is_ascii(), "{text}");
            assert!(text.lines().all(|line| line.len() <= 78), "{text}");
        }
    }

    #[test]
    fn a_subject_stays_on_one_line() {
        for subject in [
            "Hello\r\nBcc: eve@example.com",
            "Hello\nBcc: eve@example.com",
            "Hello\r\n\r\nhttps://example.com/",
            "Hello\rBcc: eve@example.com",
            "R\u{E9}initialisation\u{2028}Bcc: eve@example.com",
        ] {
            let text = written(subject, "text");
            let (head, body) = text.split_once("\r\n\r\n").unwrap();
            assert_eq!(body, "text");
            let names: Vec<&str> = head
                .split("\r\n")
                .filter(|line| !line.starts_with(' '))
                .map(|line| line.split(": ").next().unwrap())
                .collect();
            assert_eq!(names.len(), 9, "{names:?}");
            assert!(!names.contains(&"Bcc"), "{head}");
            assert!(!head.replace("\r\n", "").contains(['\r', '\n']), "{head:?}");
        }
    }

    #[test]
    fn line_ends_are_normalised() {
        let text = written("Hello", "a\nb\r\nc\rd");
        assert!(text.ends_with("\r\n\r\na\r\nb\r\nc\r\nd"), "{text:?}");
    }
}
