//! One connection, to whichever database it is.

use diesel::{
    Connection as _, MultiConnection, PgConnection, SqliteConnection,
    connection::SimpleConnection as _,
    r2d2::{Error, ManageConnection, R2D2Connection as _},
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

/// Opens a file and sets the connection up so that what it commits is on disk.
pub(super) fn connect_sqlite(path: &str) -> Result<SqliteConnection, Error> {
    let mut connection = SqliteConnection::establish(path).map_err(Error::ConnectionError)?;
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
        .map_err(Error::QueryError)?;
    Ok(connection)
}

/// Connects to a server, likewise.
pub(super) fn connect_postgres(uri: &str) -> Result<PgConnection, Error> {
    // Before libpq does so: the process would take OpenSSL down as it ends, under a thread
    // that is still connecting, and crash.
    openssl_sys::init();
    let mut connection =
        PgConnection::establish(&with_timeouts(uri)).map_err(Error::ConnectionError)?;
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
        .map_err(Error::QueryError)?;
    Ok(connection)
}

/// libpq waits for ever for a host that does not answer, unless it is told
/// otherwise. What the operator wrote stands.
fn with_timeouts(uri: &str) -> String {
    let (location, parameters) = uri.split_once('?').unwrap_or((uri, ""));
    let mut parameters: Vec<&str> = parameters
        .split('&')
        .filter(|one| !one.is_empty())
        .collect();
    for timeout in ["connect_timeout=3", "tcp_user_timeout=5000"] {
        let name = timeout.split_inclusive('=').next();
        if !parameters
            .iter()
            .any(|one| one.split_inclusive('=').next() == name)
        {
            parameters.push(timeout);
        }
    }
    format!("{location}?{}", parameters.join("&"))
}

/// Makes connections for a pool. diesel's own manager would try one database
/// after the other.
pub(super) struct Manager {
    url: DatabaseUrl,
}

impl Manager {
    pub(super) fn new(url: DatabaseUrl) -> Self {
        Self { url }
    }
}

impl ManageConnection for Manager {
    type Connection = AnyConnection;
    type Error = Error;

    fn connect(&self) -> Result<AnyConnection, Error> {
        Ok(match &self.url {
            DatabaseUrl::Sqlite(path) => AnyConnection::Sqlite(connect_sqlite(path)?),
            DatabaseUrl::Postgres(uri) => AnyConnection::Postgres(connect_postgres(uri)?),
        })
    }

    fn is_valid(&self, connection: &mut AnyConnection) -> Result<(), Error> {
        connection.ping().map_err(Error::QueryError)
    }

    fn has_broken(&self, connection: &mut AnyConnection) -> bool {
        std::thread::panicking() || connection.is_broken()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timeouts_are_added_where_the_operator_set_none() {
        assert_eq!(
            with_timeouts("postgres://db/b"),
            "postgres://db/b?connect_timeout=3&tcp_user_timeout=5000"
        );
        assert_eq!(
            with_timeouts("postgres://db/b?connect_timeout=9"),
            "postgres://db/b?connect_timeout=9&tcp_user_timeout=5000"
        );
        assert_eq!(
            with_timeouts("postgres://db/connect_timeout?&a=1&"),
            "postgres://db/connect_timeout?a=1&connect_timeout=3&tcp_user_timeout=5000"
        );
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
