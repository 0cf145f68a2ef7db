//! A connection to either database.

use diesel::{
    Connection, ConnectionError, ConnectionResult, MultiConnection, QueryResult, SqliteConnection,
    connection::{SimpleConnection as _, TransactionManager as _},
};

#[cfg(feature = "postgres")]
use diesel::PgConnection;

use super::url::DatabaseUrl;

/// A connection on which the same queries run on either database.
#[derive(MultiConnection)]
pub(super) enum AnyConnection {
    /// To PostgreSQL.
    #[cfg(feature = "postgres")]
    Postgres(PgConnection),
    /// To an SQLite file.
    Sqlite(SqliteConnection),
}

/// Runs an expression on the connection of the one database or the other: `sql_query` and
/// some clauses exist for each database, but not for both at once.
macro_rules! on_backend {
    ($connection:expr, |$backend:ident| $body:expr) => {
        match $connection {
            $crate::db::connection::AnyConnection::Sqlite($backend) => $body,
            #[cfg(feature = "postgres")]
            $crate::db::connection::AnyConnection::Postgres($backend) => $body,
        }
    };
}
pub(super) use on_backend;

impl AnyConnection {
    /// Selects the value for this connection's database.
    pub(super) fn select<T>(&self, sqlite: T, postgres: T) -> T {
        match self {
            Self::Sqlite(_) => sqlite,
            #[cfg(feature = "postgres")]
            Self::Postgres(_) => postgres,
        }
    }

    /// Whether it is a connection to a server, not to a file.
    pub(super) fn is_to_server(&self) -> bool {
        self.select(false, true)
    }

    /// Checks that the server still answers. A file always does.
    pub(super) fn ping(&mut self) -> QueryResult<()> {
        match self {
            #[cfg(feature = "postgres")]
            Self::Postgres(postgres) => postgres.batch_execute("SELECT 1"),
            Self::Sqlite(_) => Ok(()),
        }
    }

    /// Whether the connection is open as far as this end knows. It reads the socket without
    /// waiting.
    pub(super) fn is_open(&mut self) -> bool {
        match self {
            #[cfg(feature = "postgres")]
            Self::Postgres(postgres) => postgres.notifications_iter().all(|one| one.is_ok()),
            Self::Sqlite(_) => true,
        }
    }

    /// Whether a transaction is open, neither committed nor rolled back.
    pub(super) fn is_in_transaction(&mut self) -> bool {
        <Self as Connection>::TransactionManager::is_broken_transaction_manager(self)
    }
}

/// Opens a connection.
pub(super) fn connect(url: &DatabaseUrl) -> ConnectionResult<AnyConnection> {
    Ok(match url {
        DatabaseUrl::Sqlite(path) => AnyConnection::Sqlite(connect_sqlite(path)?),
        #[cfg(feature = "postgres")]
        DatabaseUrl::Postgres(uri) => AnyConnection::Postgres(connect_postgres(uri)?),
        #[cfg(not(feature = "postgres"))]
        DatabaseUrl::Postgres(_) => return Err(not_built()),
    })
}

/// Opens a file, and configures the connection so that each commit is on disk.
pub(super) fn connect_sqlite(path: &str) -> ConnectionResult<SqliteConnection> {
    let mut connection = SqliteConnection::establish(path)?;
    connection
        .batch_execute(
            // The wait for a lock is shorter than a request may take, so that
            // a caller who waits in vain gets the reason. FULL: each commit is
            // synced before it is acknowledged, so that no power cut brings an
            // ended session back.
            "PRAGMA busy_timeout = 2000;
             PRAGMA synchronous = FULL;
             PRAGMA foreign_keys = ON;
             PRAGMA secure_delete = ON;
             PRAGMA trusted_schema = OFF;",
        )
        .map_err(ConnectionError::CouldntSetupConfiguration)?;
    Ok(connection)
}

/// The error of a build without PostgreSQL.
#[cfg(not(feature = "postgres"))]
pub(super) fn not_built() -> ConnectionError {
    let why = "this program was built without PostgreSQL; build it with the feature postgres";
    ConnectionError::BadConnection(why.to_owned())
}

/// Connects to a server, with the same guarantee.
#[cfg(feature = "postgres")]
pub(super) fn connect_postgres(uri: &str) -> ConnectionResult<PgConnection> {
    // Initialised before libpq does so: otherwise the exit of the process would clean OpenSSL
    // up while a thread is still connecting, and crash.
    openssl_sys::init();
    let mut connection = PgConnection::establish(&with_parameters(uri))?;
    connection
        .batch_execute(
            // These override the server's defaults. The waits are shorter than a
            // request may take, so that a caller who waits in vain gets the reason.
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

/// With libpq's defaults, a dead host is waited for without limit while connecting, and for
/// two hours while waiting for a reply. With these parameters it is detected within five
/// seconds: while connecting, when sent data is not acknowledged, and, by keepalives, when
/// nothing is sent. Standbys are not connected to: they take no writes, and their
/// revocations may be late.
#[cfg(feature = "postgres")]
const PARAMETERS: [&str; 6] = [
    "target_session_attrs=primary",
    "connect_timeout=3",
    "tcp_user_timeout=5000",
    "keepalives_idle=2",
    "keepalives_interval=1",
    "keepalives_count=3",
];

/// Adds the [`PARAMETERS`] to a URI, except those that the operator has set.
#[cfg(feature = "postgres")]
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

    #[cfg(feature = "postgres")]
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
    fn sqlite_syncs_each_commit() {
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
