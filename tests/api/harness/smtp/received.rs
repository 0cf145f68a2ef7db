//! Received messages.

use mail_parser::{HeaderValue, MessageParser};

/// A message with its envelope.
#[derive(Clone, Debug)]
pub struct Received {
    /// The client's name in EHLO.
    pub hello: String,
    /// The logged-in user.
    pub user: Option<String>,
    /// Whether it was received through TLS.
    pub tls: bool,
    /// The envelope's sender.
    pub from: String,
    /// The envelope's recipients.
    pub to: Vec<String>,
    pub mail: Mail,
}

/// A parsed message.
#[derive(Clone, Debug)]
pub struct Mail {
    /// The encoded message.
    pub raw: String,
    /// Lower-case names and decoded values, in order.
    pub headers: Vec<(String, String)>,
    /// The decoded text, lines ending in `\n`.
    pub body: String,
}

impl Mail {
    /// Reads a message, or the content of an `.eml` file.
    pub fn parse(raw: &[u8]) -> Self {
        let message = MessageParser::default().parse(raw).expect("a message");
        let raw = String::from_utf8(raw.to_vec()).expect("ASCII");
        let part = message.root_part();
        let headers = part.headers.iter().map(|header| {
            let written = &raw[header.offset_start() as usize..header.offset_end() as usize];
            let value = match &header.value {
                HeaderValue::Text(text) => text.to_string(),
                // Addresses and dates are not encoded.
                _ => written.trim().to_owned(),
            };
            (header.name().to_ascii_lowercase(), value)
        });
        Self {
            headers: headers.collect(),
            body: message.body_text(0).expect("a text").replace("\r\n", "\n"),
            raw,
        }
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        let (_, value) = self.headers.iter().find(|(found, _)| found == name)?;
        Some(value)
    }

    /// The first link in the text.
    pub fn link(&self) -> Option<&str> {
        self.body
            .split_whitespace()
            .find(|word| word.starts_with("http://") || word.starts_with("https://"))
    }

    /// The link for a new password.
    pub fn reset_link(&self) -> &str {
        let mut links = self
            .body
            .lines()
            .filter(|line| line.contains("reset_token="));
        links.next().expect("a link on its own line")
    }

    pub fn reset_token(&self) -> String {
        let (_, token) = self
            .reset_link()
            .split_once("reset_token=")
            .expect("a token");
        token.to_owned()
    }

    pub fn subject(&self) -> &str {
        self.header("subject").expect("a subject")
    }

    /// The only recipient.
    pub fn only_recipient(&self) -> &str {
        for other in ["cc", "bcc", "reply-to"] {
            assert_eq!(self.header(other), None);
        }
        self.header("to").expect("a recipient")
    }
}
