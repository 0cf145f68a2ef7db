//! The URL of an SMTP server.

use std::{fmt, str::FromStr};

use percent_encoding::percent_decode_str;
use thiserror::Error;
use url::{Host, Url};

/// A user and its password at the server.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Credentials {
    pub(super) user: String,
    pub(super) password: String,
}

/// `smtps://USER:PASSWORD@HOST` (port 465), `smtp://HOST?tls=required` or
/// `?tls=opportunistic` (587), `smtp://HOST` (25), with a port if it differs, and a path if the
/// name in the greeting differs from the host of the sender. It may contain a password, or a user
/// whose password has to be added.
#[derive(Clone, PartialEq, Eq)]
pub struct SmtpUrl {
    host: Host,
    port: u16,
    tls: Tls,
    pub(super) hello: Option<String>,
    pub(super) credentials: Option<Credentials>,
    /// A user whose password has to be added.
    user: Option<String>,
}

/// The start of TLS. The certificate is always verified.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tls {
    /// At once.
    Implicit,
    /// By STARTTLS; a server without it is refused.
    Required,
    /// By STARTTLS if the server offers it. An attacker on the network can remove the offer.
    Opportunistic,
    /// Never.
    None,
}

/// The text is not the URL of an SMTP server.
#[derive(Debug, PartialEq, Eq, Error)]
#[error(
    "write smtps://USER:PASSWORD@HOST, or smtp://HOST:587?tls=required for STARTTLS, with special \
     characters of a user or a password percent-encoded (@ is %40, / is %2F)"
)]
pub struct SmtpUrlError;

impl SmtpUrl {
    /// The start of TLS.
    pub fn tls(&self) -> Tls {
        self.tls
    }

    /// Whether the server is this machine, so that there is no network in between.
    pub fn is_local(&self) -> bool {
        match &self.host {
            Host::Domain(name) => name == "localhost",
            Host::Ipv4(address) => address.is_loopback(),
            Host::Ipv6(address) => address.is_loopback(),
        }
    }

    /// Whether it contains a password.
    pub fn has_password(&self) -> bool {
        self.credentials.is_some()
    }

    /// Whether it contains a user and no password.
    pub fn lacks_password(&self) -> bool {
        self.user.is_some()
    }

    /// The URL with a password for its user, if that lacks one.
    pub fn with_password(&self, password: &str) -> Self {
        let mut whole = self.clone();
        if let Some(user) = whole.user.take() {
            whole.credentials = Some(Credentials {
                user,
                password: password.to_owned(),
            });
        }
        whole
    }

    /// The name to look up and to verify in the certificate; an IPv6 address has no brackets.
    pub(super) fn host(&self) -> String {
        match &self.host {
            Host::Ipv6(address) => address.to_string(),
            other => other.to_string(),
        }
    }

    pub(super) fn port(&self) -> u16 {
        self.port
    }
}

impl FromStr for SmtpUrl {
    type Err = SmtpUrlError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        parse(text).ok_or(SmtpUrlError)
    }
}

fn parse(text: &str) -> Option<SmtpUrl> {
    // The parser would ignore these characters.
    if text.contains(|c: char| c.is_control() || c == ' ') {
        return None;
    }
    let url = Url::parse(text).ok()?;
    // A fragment is a part of a password, or has no meaning.
    if url.fragment().is_some() {
        return None;
    }
    let (tls, port) = match (url.scheme(), url.query()) {
        ("smtps", None) => (Tls::Implicit, 465),
        ("smtp", Some("tls=required")) => (Tls::Required, 587),
        ("smtp", Some("tls=opportunistic")) => (Tls::Opportunistic, 587),
        ("smtp", None) => (Tls::None, 25),
        _ => return None,
    };
    let port = url.port().unwrap_or(port);
    let hello = match url.path().trim_start_matches('/') {
        "" => None,
        name => Some(Host::parse(name).ok()?.to_string()),
    };
    let decoded = |text: &str| {
        let decoded = percent_decode_str(text).decode_utf8().ok()?;
        let is_safe = !decoded.is_empty() && !decoded.contains(char::is_control);
        is_safe.then(|| decoded.into_owned())
    };
    let (user, credentials) = match (url.username(), url.password()) {
        ("", None) => (None, None),
        (user, None) => (Some(decoded(user)?), None),
        (user, Some(password)) => {
            let credentials = Credentials {
                user: decoded(user)?,
                password: decoded(password)?,
            };
            (None, Some(credentials))
        }
    };
    Some(SmtpUrl {
        host: Host::parse(url.host_str()?).ok()?,
        port: (port != 0).then_some(port)?,
        tls,
        hello,
        credentials,
        user,
    })
}

/// For messages: without the user and the password.
impl fmt::Display for SmtpUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (scheme, query) = match self.tls {
            Tls::Implicit => ("smtps", ""),
            Tls::Required => ("smtp", "?tls=required"),
            Tls::Opportunistic => ("smtp", "?tls=opportunistic"),
            Tls::None => ("smtp", ""),
        };
        write!(f, "{scheme}://{}:{}{query}", self.host, self.port)
    }
}

impl fmt::Debug for SmtpUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_smtp_url_is_parsed() {
        for (text, shown) in [
            (
                "smtps://ada:hunter2@mail.example.com",
                "smtps://mail.example.com:465",
            ),
            (
                "smtps://mail.example.com:4650/",
                "smtps://mail.example.com:4650",
            ),
            ("smtp://Mail.example.com", "smtp://mail.example.com:25"),
            ("smtp://localhost:2525", "smtp://localhost:2525"),
            (
                "smtp://ada%40example.com:hunter%2F2@mail.example.com?tls=required",
                "smtp://mail.example.com:587?tls=required",
            ),
            (
                "smtp://mail.example.com:25?tls=opportunistic",
                "smtp://mail.example.com:25?tls=opportunistic",
            ),
            (
                "smtps://ada@mail.example.com",
                "smtps://mail.example.com:465",
            ),
            ("smtps://[::1]:1", "smtps://[::1]:1"),
            ("smtp://10.0.0.1/auth.example.com", "smtp://10.0.0.1:25"),
        ] {
            let url: SmtpUrl = text.parse().unwrap_or_else(|_| panic!("{text}"));
            assert_eq!(
                (url.to_string(), format!("{url:?}")),
                (shown.into(), shown.into())
            );
        }
        for text in [
            "",
            "mail.example.com",
            "mail.example.com:25",
            "http://mail.example.com",
            "smtp:mail.example.com",
            "smtp://",
            "smtp://mail.example.com:0",
            "smtp://mail.example.com:99999",
            "smtp://mail.example.com?tls=yes",
            "smtp://mail.example.com?tls=required&tls=opportunistic",
            "smtp://mail.example.com?timeout=5",
            "smtps://mail.example.com?tls=opportunistic",
            "smtp://:hunter2@mail.example.com",
            "smtp://ada:hunter2@",
            "smtp://ada:hun%00ter2@mail.example.com",
            "smtp://ada:hun%ffter2@mail.example.com",
            "smtp://ada:hun ter2@mail.example.com",
            "smtp://ada:hun\nter2@mail.example.com",
            "smtp://ada:hun/ter2@mail.example.com",
            "smtp://ada:12/ter2@mail.example.com",
            "smtp://ada:12?ter2@mail.example.com",
            "smtp://ada:12#ter2@mail.example.com",
            "smtp://ma%20il.example.com",
            "smtp://mail.example.com/two names",
            "smtp://mail.example.com/a/b",
        ] {
            assert_eq!(text.parse::<SmtpUrl>(), Err(SmtpUrlError), "{text}");
        }
    }

    #[test]
    fn encoded_characters_are_decoded() {
        let url: SmtpUrl = "smtps://a%40b:h%C3%BC%2Fn@c/d.example".parse().unwrap();
        let credentials = url.credentials.unwrap();
        assert_eq!(credentials.user, "a@b");
        assert_eq!(credentials.password, "h\u{FC}/n");
        assert_eq!(url.hello.as_deref(), Some("d.example"));
    }

    #[test]
    fn a_password_can_be_added() {
        let of = |text: &str| text.parse::<SmtpUrl>().unwrap();
        let whole = of("smtps://ada:hunter2@c");
        assert!(whole.has_password() && !whole.lacks_password());
        let without = of("smtps://ada@c");
        assert!(!without.has_password() && without.lacks_password());
        assert_eq!(without.with_password("hunter2"), whole);
        let no_user = of("smtps://c");
        assert!(!no_user.has_password() && !no_user.lacks_password());
        assert_eq!(no_user.with_password("hunter2"), no_user);
    }

    #[test]
    fn this_machine_is_recognised() {
        for (text, local) in [
            ("smtp://localhost", true),
            ("smtp://127.8.9.1:25", true),
            ("smtp://[::1]", true),
            ("smtp://localhost.example.com", false),
            ("smtp://10.0.0.1", false),
        ] {
            let url: SmtpUrl = text.parse().unwrap();
            assert_eq!(url.is_local(), local, "{text}");
        }
    }
}
