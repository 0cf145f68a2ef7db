//! One connection, to whichever database it is.

use diesel::{
    Connection, ConnectionError, ConnectionResult, MultiConnection, PgConnection, QueryResult,
    SqliteConnection,
    connection::{SimpleConnection as _, TransactionManager as _},
};

use super::url::DatabaseUrl;

/// A connection that the same queries run on, whichever database it leads to.
#[derive(MultiConnection)]
pub(super) enum AnyConnection {
    /// To PostgreSQL.
    Postgres(PgConnection),
    /// To an SQLite file.
    Sqlite(SqliteConnection),
}

impl AnyConnection {
    /// Asks a server whether it still answers. A file does not hang up.
    pub(super) fn ping(&mut self) -> QueryResult<()> {
        match self {
            Self::Postgres(postgres) => postgres.batch_execute("SELECT 1"),
            Self::Sqlite(_) => Ok(()),
        }
    }

    /// Whether the server has not closed the connection, as far as this end knows. It
    /// looks at the socket and does not wait.
    pub(super) fn is_open(&mut self) -> bool {
        match self {
            Self::Postgres(postgres) => postgres.notifications_iter().all(|one| one.is_ok()),
            Self::Sqlite(_) => true,
        }
    }

    /// Whether a transaction was begun that is neither committed nor rolled back.
    pub(super) fn is_in_transaction(&mut self) -> bool {
        <Self as Connection>::TransactionManager::is_broken_transaction_manager(self)
    }
}

/// Opens a connection.
pub(super) fn connect(url: &DatabaseUrl) -> ConnectionResult<AnyConnection> {
    Ok(match url {
        DatabaseUrl::Sqlite(path) => AnyConnection::Sqlite(connect_sqlite(path)?),
        DatabaseUrl::Postgres(uri) => AnyConnection::Postgres(connect_postgres(uri)?),
    })
}

/// Opens a file and sets the connection up so that what it commits is on disk.
pub(super) fn connect_sqlite(path: &str) -> ConnectionResult<SqliteConnection> {
    let mut connection = SqliteConnection::establish(path)?;
    connection
        .batch_execute(
            // The wait for a lock is shorter than a request may take, so that
            // whoever waits in vain hears why. FULL: each commit is synced
            // before it is acknowledged, so that no power cut brings an ended
            // session back.
            "PRAGMA busy_timeout = 2000;
             PRAGMA synchronous = FULL;
             PRAGMA foreign_keys = ON;
             PRAGMA secure_delete = ON;
             PRAGMA trusted_schema = OFF;",
        )
        .map_err(ConnectionError::CouldntSetupConfiguration)?;
    Ok(connection)
}

/// Connects to a server, likewise.
pub(super) fn connect_postgres(uri: &str) -> ConnectionResult<PgConnection> {
    // Before libpq does so: the process would take OpenSSL down as it ends, under a thread
    // that is still connecting, and crash.
    openssl_sys::init();
    let mut connection = PgConnection::establish(&with_parameters(uri))?;
    connection
        .batch_execute(
            // Whatever the server's own defaults are; the waits are shorter
            // than a request may take, so that whoever waits in vain hears why.
            "SET synchronous_commit = on;
             SET statement_timeout = '4s';
             SET lock_timeout = '2s';
             SET idle_in_transaction_session_timeout = '10s';
             SET timezone = 'UTC';
             SET application_name = 'bienvenue';",
        )
        .map_err(ConnectionError::CouldntSetupConfiguration)?;
    Ok(connection)
}

/// libpq's own defaults wait for a host that has died: without end for a connection, for two
/// hours for a reply. With these parameters a dead host is noticed within five seconds:
/// while it is connected to; when what was sent to it is not acknowledged; and when nothing
/// is sent, by keepalives. A standby is no server to connect to: it takes no writes, and
/// what it has of revocations may be late.
const PARAMETERS: [&str; 6] = [
    "target_session_attrs=primary",
    "connect_timeout=3",
    "tcp_user_timeout=5000",
    "keepalives_idle=2",
    "keepalives_interval=1",
    "keepalives_count=3",
];

/// Adds the [`PARAMETERS`] to a URI. What the operator wrote stands.
fn with_parameters(uri: &str) -> String {
    let (location, parameters) = uri.split_once('?').unwrap_or((uri, ""));
    let mut parameters: Vec<&str> = parameters
        .split('&')
        .filter(|one| !one.is_empty())
        .collect();
    for own in PARAMETERS {
        let name = own.split_inclusive('=').next();
        if !parameters
            .iter()
            .any(|one| one.split_inclusive('=').next() == name)
        {
            parameters.push(own);
        }
    }
    format!("{location}?{}", parameters.join("&"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_added_where_the_operator_set_none() {
        let own = PARAMETERS.join("&");
        let (first, rest) = own.split_once('&').unwrap();
        let (_, keepalives) = rest.split_once('&').unwrap();
        for (uri, with) in [
            ("postgres://db/b", format!("postgres://db/b?{own}")),
            (
                "postgres://db/b?connect_timeout=9",
                format!("postgres://db/b?connect_timeout=9&{first}&{keepalives}"),
            ),
            (
                "postgres://db/connect_timeout?&a=1&",
                format!("postgres://db/connect_timeout?a=1&{own}"),
            ),
            (
                "postgres://db/b?keepalives=0&keepalives_idle=60&tcp_user_timeout=0\
                 &target_session_attrs=any",
                "postgres://db/b?keepalives=0&keepalives_idle=60&tcp_user_timeout=0\
                 &target_session_attrs=any&connect_timeout=3&keepalives_interval=1\
                 &keepalives_count=3"
                    .to_owned(),
            ),
        ] {
            assert_eq!(with_parameters(uri), with);
        }
    }

    #[test]
    fn what_sqlite_commits_is_on_disk() {
        use diesel::{QueryableByName, RunQueryDsl as _, sql_types::BigInt};

        #[derive(QueryableByName)]
        struct Pragma {
            #[diesel(sql_type = BigInt)]
            synchronous: i64,
        }

        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("b.db");
        let mut connection = connect_sqlite(path.to_str().unwrap()).unwrap();
        let pragma: Pragma = diesel::sql_query("PRAGMA synchronous")
            .get_result(&mut connection)
            .unwrap();
        assert_eq!(pragma.synchronous, 2, "FULL");
    }
}
