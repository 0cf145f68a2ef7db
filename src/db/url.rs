//! Where the database is.

use std::{fmt, str::FromStr};

use thiserror::Error;

/// `sqlite:PATH` or `postgres://…`.
#[derive(Clone, PartialEq, Eq)]
pub enum DatabaseUrl {
    /// The path of a file, created when it is missing.
    Sqlite(String),
    /// A connection URI as libpq reads it. It may hold a password.
    Postgres(String),
}

/// The text is neither.
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
        // SQLite reads these as a URI, as its parameters, or as a database that
        // every connection has for itself alone.
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

/// Whether a connection URI, after its scheme, reads in one way only. libpq
/// quotes what it cannot read, and would put parts of a password in which a
/// special character stands as it is into the log.
fn is_plain(uri: &str) -> bool {
    let (location, parameters) = uri.split_once('?').unwrap_or((uri, ""));
    let (authority, database) = location.split_once('/').unwrap_or((location, ""));
    let hosts = match authority.split_once('@') {
        Some((_, hosts)) => hosts,
        None => authority,
    };
    let has_numeric_ports = hosts.split(',').all(|host| {
        // Colons within brackets are an IPv6 address's.
        let after = host.rsplit_once(']').map_or(host, |(_, after)| after);
        let port = after.rsplit_once(':').map_or("", |(_, port)| port);
        port.bytes().all(|byte| byte.is_ascii_digit())
    });
    let is_encoded = uri
        .split('%')
        .skip(1)
        .all(|rest| rest.len() >= 2 && rest.as_bytes()[..2].iter().all(u8::is_ascii_hexdigit));
    has_numeric_ports
        && is_encoded
        && ![hosts, database].iter().any(|part| part.contains('@'))
        && !parameters.contains('@')
        && !uri.contains('#')
}

/// For people, and so without a password.
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
    fn what_is_a_database_url() {
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
    fn a_postgres_uri_reads_in_one_way() {
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
        ] {
            assert_eq!(text.parse::<DatabaseUrl>(), Err(DatabaseUrlError), "{text}");
        }
    }

    #[test]
    fn a_password_is_not_shown() {
        let url: DatabaseUrl = "postgres://ada:hunter2@db/bienvenue".parse().unwrap();
        assert!(!format!("{url} {url:?}").contains("hunter2"));
    }
}
