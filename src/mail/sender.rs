//! The sender of mails.

use std::{fmt, net::IpAddr, str::FromStr};

use lettre::{Address, message::Mailbox};
use thiserror::Error;

use crate::domain::Email;

/// The longest name before an address, in bytes.
const MAX_NAME_BYTES: usize = 100;

/// An address with an optional name, for the header `From`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sender(Mailbox);

/// The text is not a sender.
#[derive(Debug, PartialEq, Eq, Error)]
#[error(
    "write an address such as bienvenue@example.com, or a name and an address such as \
     Bienvenue <bienvenue@example.com>"
)]
pub struct SenderError;

impl Sender {
    /// `bienvenue@` a host, or `bienvenue@localhost` if the host is an IP address, which is not
    /// a mail domain.
    ///
    /// # Errors
    ///
    /// When the host is not a domain name.
    pub fn at(host: &str) -> Result<Self, SenderError> {
        let literal = host.trim_start_matches('[').trim_end_matches(']');
        match literal.parse::<IpAddr>() {
            Ok(_) => "bienvenue@localhost".parse(),
            Err(_) => format!("bienvenue@{host}").parse(),
        }
    }

    /// The address and its name.
    pub(super) fn mailbox(&self) -> &Mailbox {
        &self.0
    }

    /// The host of the address, in ASCII.
    pub(super) fn host(&self) -> &str {
        self.0.email.domain()
    }
}

impl FromStr for Sender {
    type Err = SenderError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.contains(char::is_control) {
            return Err(SenderError);
        }
        let Mailbox { name, email } = text.parse().map_err(|_| SenderError)?;
        let name = name.filter(|name| !name.is_empty());
        let fits = |name: &String| name.len() <= MAX_NAME_BYTES;
        let email = Email::parse(email.as_ref()).map_err(|_| SenderError)?;
        match address(&email) {
            Some(address) if name.iter().all(fits) => Ok(Self(Mailbox::new(name, address))),
            _ => Err(SenderError),
        }
    }
}

impl fmt::Display for Sender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// An address as the library's type.
pub(super) fn address(email: &Email) -> Option<Address> {
    email.as_str().parse().ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_sender_is_parsed() {
        for (text, shown) in [
            ("bienvenue@example.com", "bienvenue@example.com"),
            (
                "Bienvenue <Post@EXAMPLE.com>",
                "Bienvenue <post@example.com>",
            ),
            (
                "\"Acme, Inc.\" <post@example.com>",
                "\"Acme, Inc.\" <post@example.com>",
            ),
            (
                "B\u{FC}cher <post@b\u{FC}cher.example>",
                "B\u{FC}cher <post@xn--bcher-kva.example>",
            ),
        ] {
            let sender: Sender = text.parse().unwrap_or_else(|_| panic!("{text}"));
            assert_eq!(sender.to_string(), shown);
        }
        let long = format!("{} <ada@example.com>", "a".repeat(101));
        for text in [
            "",
            "ada",
            "ada@",
            "Ada <ada@example.com>, Eve <eve@example.com>",
            "ada@example.com, eve@example.com",
            "Ada <ada@[::1]>",
            "Ada\r\nBcc: eve@example.com <ada@example.com>",
            "\"Ada\r\n Bcc\" <ada@example.com>",
            "\"A\u{7}da\" <ada@example.com>",
            "<ada@example.com>\r\n",
            &long,
        ] {
            assert_eq!(text.parse::<Sender>(), Err(SenderError), "{text:?}");
        }
    }

    #[test]
    fn a_host_has_a_sender() {
        for (host, sender) in [
            ("auth.example.com", "bienvenue@auth.example.com"),
            ("localhost", "bienvenue@localhost"),
            ("127.0.0.1", "bienvenue@localhost"),
            ("[::1]", "bienvenue@localhost"),
        ] {
            assert_eq!(Sender::at(host).unwrap().to_string(), sender);
        }
        for host in ["", "a_b.example.com", "a b", "eve@example.com"] {
            assert_eq!(Sender::at(host), Err(SenderError), "{host}");
        }
    }

    proptest! {
        #[test]
        fn the_library_takes_every_valid_address(
            local in "[a-z0-9!#$%&'*+/=?^_`{|}~-]{1,20}(\\.[a-z0-9!#$%&'*+/=?^_`{|}~-]{1,20}){0,2}",
            domain in "[a-z0-9-]{1,63}(\\.[a-z0-9-]{1,63}){0,3}",
        ) {
            if let Ok(email) = Email::parse(&format!("{local}@{domain}")) {
                prop_assert!(address(&email).is_some(), "{}", email);
            }
        }
    }
}
