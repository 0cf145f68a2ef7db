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
#[error("write sqlite:PATH, such as sqlite:bienvenue.db, or postgres://USER@HOST/DATABASE")]
pub struct DatabaseUrlError;

impl FromStr for DatabaseUrl {
    type Err = DatabaseUrlError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.starts_with("postgres://") || text.starts_with("postgresql://") {
            return Ok(Self::Postgres(text.to_owned()));
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
    fn a_password_is_not_shown() {
        let url: DatabaseUrl = "postgres://ada:hunter2@db/bienvenue".parse().unwrap();
        assert!(!format!("{url} {url:?}").contains("hunter2"));
    }
}
