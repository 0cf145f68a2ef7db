//! The URL of a database.

use std::{fmt, net::Ipv6Addr, str::FromStr};

use percent_encoding::{NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use thiserror::Error;

/// `sqlite:PATH` or `postgres://…`.
#[derive(Clone, PartialEq, Eq)]
pub enum DatabaseUrl {
    /// The path of a file, created if it is missing.
    Sqlite(String),
    /// A connection URI as libpq reads it. It may contain a password.
    Postgres(String),
}

/// The text is not the URL of a database.
#[derive(Debug, PartialEq, Eq, Error)]
#[error(
    "write sqlite:PATH, such as sqlite:bienvenue.db, or postgres://USER@HOST/DATABASE with \
     special characters of a password percent-encoded (@ is %40, / is %2F)"
)]
pub struct DatabaseUrlError;

impl FromStr for DatabaseUrl {
    type Err = DatabaseUrlError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let uri = text
            .strip_prefix("postgres://")
            .or_else(|| text.strip_prefix("postgresql://"));
        if let Some(uri) = uri {
            return if is_plain(uri) {
                Ok(Self::Postgres(text.to_owned()))
            } else {
                Err(DatabaseUrlError)
            };
        }
        let path = text.strip_prefix("sqlite:").ok_or(DatabaseUrlError)?;
        let path = path.strip_prefix("//").unwrap_or(path);
        // SQLite reads these as a URI, as its parameters, or as a database private to
        // each connection.
        if path.is_empty()
            || path.starts_with(':')
            || path.starts_with("file:")
            || path.contains(['?', '#', '%', '\0'])
        {
            return Err(DatabaseUrlError);
        }
        Ok(Self::Sqlite(path.to_owned()))
    }
}

impl DatabaseUrl {
    /// Whether it contains the password of the database.
    pub fn has_password(&self) -> bool {
        self.holds(&["password"])
    }

    /// Whether it contains a secret: that password, or the one of a client's key.
    pub fn holds_secret(&self) -> bool {
        self.holds(&["password", "sslpassword"])
    }

    /// The same URL with a password; `None` for an SQLite file, which has none.
    pub fn with_password(&self, password: &str) -> Option<Self> {
        let Self::Postgres(uri) = self else {
            return None;
        };
        let separator = match uri.split_once('?') {
            None => "?",
            Some((_, "")) => "",
            Some((_, parameters)) if parameters.ends_with('&') => "",
            Some(_) => "&",
        };
        let password = utf8_percent_encode(password, NON_ALPHANUMERIC);
        Some(Self::Postgres(format!(
            "{uri}{separator}password={password}"
        )))
    }

    /// Whether one of these parameters, or the password after the user's name, has a value.
    fn holds(&self, names: &[&str]) -> bool {
        let Self::Postgres(uri) = self else {
            return false;
        };
        let uri = uri.split_once("://").map_or("", |(_, rest)| rest);
        let (location, parameters) = uri.split_once('?').unwrap_or((uri, ""));
        let authority = location.split('/').next().unwrap_or_default();
        let user = authority.split_once('@').map_or("", |(user, _)| user);
        let in_user = user
            .split_once(':')
            .is_some_and(|(_, password)| !password.is_empty());
        let in_parameters = parameters.split('&').any(|parameter| {
            let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
            // libpq decodes names as well.
            let name = percent_decode_str(name).decode_utf8_lossy();
            !value.is_empty() && names.contains(&&*name)
        });
        in_user || in_parameters
    }
}

/// Whether a connection URI, after its scheme, is unambiguous. libpq quotes the parts that it
/// cannot read, and so would log parts of a password with an unescaped special character.
fn is_plain(uri: &str) -> bool {
    let (location, parameters) = uri.split_once('?').unwrap_or((uri, ""));
    let (authority, database) = location.split_once('/').unwrap_or((location, ""));
    let hosts = authority
        .split_once('@')
        .map_or(authority, |(_, hosts)| hosts);
    let is_encoded = uri.split('%').skip(1).all(|rest| {
        let digits = rest.get(..2).unwrap_or_default();
        digits.len() == 2 && digits.bytes().all(|byte| byte.is_ascii_hexdigit()) && digits != "00"
    });
    is_encoded
        && uri
            .bytes()
            .all(|byte| byte.is_ascii_graphic() && byte != b'#')
        && hosts.split(',').all(is_host)
        && !database.contains('@')
        && !parameters.contains('@')
}

/// Whether it is a name, an IPv4 address, or an IPv6 address in brackets, optionally with a
/// port.
fn is_host(text: &str) -> bool {
    let (host, port) = match text.strip_prefix('[').map(|rest| rest.split_once(']')) {
        Some(Some((address, port))) if address.parse::<Ipv6Addr>().is_ok() => ("", port),
        Some(_) => return false,
        None => text.split_at(text.find(':').unwrap_or(text.len())),
    };
    let is_port = match port.strip_prefix(':') {
        Some(digits) => digits.bytes().all(|byte| byte.is_ascii_digit()),
        None => port.is_empty(),
    };
    is_port && !host.contains(['[', ']', '@'])
}

/// For messages: without the password.
impl fmt::Display for DatabaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sqlite(path) => f.write_str(path),
            Self::Postgres(_) => f.write_str("on the PostgreSQL server"),
        }
    }
}

impl fmt::Debug for DatabaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_database_url_is_parsed() {
        for (text, path) in [
            ("sqlite:bienvenue.db", "bienvenue.db"),
            ("sqlite://bienvenue.db", "bienvenue.db"),
            ("sqlite:///var/lib/b.db", "/var/lib/b.db"),
            ("sqlite:/var/lib/b.db", "/var/lib/b.db"),
        ] {
            assert_eq!(text.parse(), Ok(DatabaseUrl::Sqlite(path.to_owned())));
        }
        for text in [
            "",
            "b.db",
            "sqlite:",
            "sqlite::memory:",
            "sqlite:file:b.db",
            "sqlite:b.db?mode=ro",
            "mysql://x",
        ] {
            assert_eq!(text.parse::<DatabaseUrl>(), Err(DatabaseUrlError), "{text}");
        }
    }

    #[test]
    fn a_postgres_uri_is_unambiguous() {
        for text in [
            "postgres://db/b",
            "postgresql://ada@db/b",
            "postgres://ada:hunter2@db:5432/b?sslmode=require",
            "postgres://ada:h%40nter%2F2@[::1]:5432/b",
            "postgres://ada@one:5432,two:5433/b",
            "postgres:///b?host=/run/postgresql",
        ] {
            assert!(text.parse::<DatabaseUrl>().is_ok(), "{text}");
        }
        for text in [
            "postgres://ada:hun%zzter2@db/b",
            "postgres://ada:hunter2%@db/b",
            "postgres://ada:secr/et2@db/b",
            "postgres://ada:12/et2@db/b",
            "postgres://ada:secr@et2@db/b",
            "postgres://ada:secr?et2@db/b",
            "postgres://ada:12?et2@db/b",
            "postgres://ada:secr#et2@db/b",
            "postgres://db:port/b",
            "postgres://ada:hunter2@[::1/b",
            "postgres://ada:hunter2@[]/b",
            "postgres://ada:hunter2@[::1]x/b",
            "postgres://ada:hunter2@[::1]:x/b",
            "postgres://ada:hunter2@d[b/b",
            "postgres://ada:hun%00ter2@db/b",
            "postgres://ada@db/b?password=hun%00ter2",
            "postgres://ada:hun ter2@db/b",
            "postgres://ada@db/b?password=hunt er2",
            "postgres://ada:hunt\u{E9}r2@db/b",
        ] {
            assert_eq!(text.parse::<DatabaseUrl>(), Err(DatabaseUrlError), "{text}");
        }
    }

    #[test]
    fn a_password_is_found_and_added() {
        for (text, has_password) in [
            ("sqlite:a.db", false),
            ("postgres://db/b", false),
            ("postgres://ada@db:5432/b", false),
            ("postgres://ada:@db/b", false),
            ("postgres://ada:hunter2@db/b", true),
            ("postgres://:hunter2@/b?host=/run", true),
            ("postgres://ada@db/b?sslmode=require", false),
            ("postgres://ada@db/b?sslmode=require&password=hunter2", true),
            ("postgres://ada@db/b?%70assword=hunter2", true),
            ("postgres://ada@db/b?password=", false),
        ] {
            let url: DatabaseUrl = text.parse().unwrap();
            assert_eq!(url.has_password(), has_password, "{text}");
            assert_eq!(url.holds_secret(), has_password, "{text}");
        }
        let url: DatabaseUrl = "postgres://db/b?sslpassword=hunter2".parse().unwrap();
        assert!(url.holds_secret() && !url.has_password());
        for (text, whole) in [
            (
                "postgres://ada@db/b",
                "postgres://ada@db/b?password=a%20%26%C3%BC",
            ),
            (
                "postgres://ada@db",
                "postgres://ada@db?password=a%20%26%C3%BC",
            ),
            ("postgres:///b?", "postgres:///b?password=a%20%26%C3%BC"),
            (
                "postgres:///b?host=/run",
                "postgres:///b?host=/run&password=a%20%26%C3%BC",
            ),
            (
                "postgres:///b?host=/run&",
                "postgres:///b?host=/run&password=a%20%26%C3%BC",
            ),
        ] {
            let url: DatabaseUrl = text.parse().unwrap();
            let url = url.with_password("a &\u{FC}").unwrap();
            assert_eq!(url, whole.parse().unwrap(), "{text}");
            assert!(url.has_password());
        }
        let file: DatabaseUrl = "sqlite:a.db".parse().unwrap();
        assert_eq!(file.with_password("x"), None);
    }

    #[test]
    fn a_password_is_not_shown() {
        let url: DatabaseUrl = "postgres://ada:hunter2@db/bienvenue".parse().unwrap();
        assert!(!format!("{url} {url:?}").contains("hunter2"));
    }
}
