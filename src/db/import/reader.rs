//! Connections that only read, and create no files beside the file that they read.

use std::{
    fs::{self, File},
    io::{self, ErrorKind, Read as _},
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

use diesel::{
    Connection as _, ConnectionError, ConnectionResult, SqliteConnection,
    connection::SimpleConnection as _,
};

use crate::db::{
    connection::{self, AnyConnection},
    url::DatabaseUrl,
};

/// A connection in a read-only transaction: it sees one state of the database, however long
/// the reading takes.
pub(super) struct Reader {
    pub(super) connection: AnyConnection,
    /// The file, if it is read without a lock because no other process had it open.
    unlocked: Option<(PathBuf, Fingerprint)>,
}

/// Metadata that changes when a file is written to.
type Fingerprint = (u64, u64, i64, i64);

impl Reader {
    /// Opens a database; `None` for a missing file.
    pub(super) fn open(url: &DatabaseUrl) -> ConnectionResult<Option<Self>> {
        match url {
            DatabaseUrl::Sqlite(path) => Self::open_sqlite(Path::new(path)),
            #[cfg(feature = "postgres")]
            DatabaseUrl::Postgres(uri) => Self::open_postgres(uri).map(Some),
            #[cfg(not(feature = "postgres"))]
            DatabaseUrl::Postgres(_) => Err(connection::not_built()),
        }
    }

    fn open_sqlite(path: &Path) -> ConnectionResult<Option<Self>> {
        let path = match path.canonicalize() {
            Ok(path) => path,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(refused(&error)),
        };
        // To read a file in WAL mode, SQLite writes two others beside it. If these
        // do not exist, no process has the file open, and it is read as immutable;
        // at the end it is checked that it did not change.
        let unlocked =
            if is_in_wal_mode(&path).map_err(|error| refused(&error))? && !wal_of(&path).exists() {
                let fingerprint = fingerprint_of(&path).map_err(|error| refused(&error))?;
                Some((path.clone(), fingerprint))
            } else {
                None
            };
        let mode = if unlocked.is_some() {
            "mode=ro&immutable=1"
        } else {
            "mode=ro"
        };
        let uri = format!("file:{}?{mode}", escaped(&path)?);
        let mut connection = SqliteConnection::establish(&uri)?;
        connection
            .batch_execute(
                "PRAGMA busy_timeout = 2000;
                 PRAGMA query_only = ON;
                 PRAGMA trusted_schema = OFF;
                 BEGIN;",
            )
            .map_err(ConnectionError::CouldntSetupConfiguration)?;
        Ok(Some(Self {
            connection: AnyConnection::Sqlite(connection),
            unlocked,
        }))
    }

    #[cfg(feature = "postgres")]
    fn open_postgres(uri: &str) -> ConnectionResult<Self> {
        let mut connection = connection::connect_postgres(uri)?;
        connection
            .batch_execute(
                // Reading a long table may take longer than these limits.
                "SET statement_timeout = 0;
                 SET idle_in_transaction_session_timeout = 0;
                 BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY;",
            )
            .map_err(ConnectionError::CouldntSetupConfiguration)?;
        Ok(Self {
            connection: AnyConnection::Postgres(connection),
            unlocked: None,
        })
    }

    /// Whether everything read so far belongs to one state of the database.
    pub(super) fn is_consistent(&self) -> bool {
        match &self.unlocked {
            Some((path, fingerprint)) => {
                !wal_of(path).exists() && fingerprint_of(path).is_ok_and(|now| now == *fingerprint)
            }
            None => true,
        }
    }
}

fn refused(error: &io::Error) -> ConnectionError {
    ConnectionError::BadConnection(error.to_string())
}

/// Whether a file is in WAL mode, by its header (bytes 18 and 19 of the database format).
fn is_in_wal_mode(path: &Path) -> io::Result<bool> {
    let mut header = Vec::new();
    File::open(path)?.take(20).read_to_end(&mut header)?;
    Ok(header.ends_with(&[2, 2]))
}

fn wal_of(path: &Path) -> PathBuf {
    let mut wal = path.as_os_str().to_owned();
    wal.push("-wal");
    wal.into()
}

fn fingerprint_of(path: &Path) -> io::Result<Fingerprint> {
    let metadata = fs::metadata(path)?;
    Ok((
        metadata.ino(),
        metadata.size(),
        metadata.mtime(),
        metadata.mtime_nsec(),
    ))
}

/// A path escaped for one of SQLite's URIs.
fn escaped(path: &Path) -> ConnectionResult<String> {
    let path = path.to_str().ok_or_else(|| {
        let why = "its path is not UTF-8".to_owned();
        ConnectionError::BadConnection(why)
    })?;
    Ok(path
        .replace('%', "%25")
        .replace('?', "%3f")
        .replace('#', "%23"))
}
