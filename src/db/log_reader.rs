//! Who follows the log of revocations: a connection of its own, that nobody else's
//! work can hold up. It blocks.

use diesel::{
    QueryableByName, RunQueryDsl as _,
    connection::SimpleConnection as _,
    sql_types::{Binary, Nullable, Text},
};

use super::{
    DbError,
    connection::{AnyConnection, connect_postgres, connect_sqlite},
    revocations::{self, LogPage},
    sessions::to_digest,
    url::DatabaseUrl,
};
use crate::domain::{Revision, SessionDigest};

/// How many revocations are read at once.
const READ_AT_ONCE: u32 = 5_000;

/// What the connection is known by among the server's.
const LISTEN: &str = "
    SET application_name = 'bienvenue revocations';
    LISTEN bienvenue_revocations;";

/// Numbers of transactions that are yet to come are from another server, whose
/// data were restored here. Nothing would ever count as seen.
const MEND_OPENED: &str = "
    UPDATE sessions SET opened_in = pg_current_xact_id()
    WHERE opened_in > pg_current_xact_id()";

/// Which history this is. After a failover to a server that had not yet received
/// everything, it is another one, and revisions may have been used again.
const TIMELINE: &str = "SELECT left(pg_walfile_name(pg_current_wal_lsn()), 8) AS text";

const SNAPSHOT: &str = "SELECT pg_current_snapshot()::text AS text";

/// What became visible between two snapshots. The first condition is one that an
/// index helps with.
const OPENED: &str = "
    SELECT pg_current_snapshot()::text AS text, NULL AS digest
    UNION ALL
    SELECT NULL, digest FROM sessions
    WHERE opened_in >= pg_snapshot_xmin($1::pg_snapshot)
      AND NOT pg_visible_in_snapshot(opened_in, $1::pg_snapshot)";

#[derive(QueryableByName)]
struct TextRow {
    #[diesel(sql_type = Text)]
    text: String,
}

#[derive(QueryableByName)]
struct OpenedRow {
    #[diesel(sql_type = Nullable<Text>)]
    text: Option<String>,
    #[diesel(sql_type = Nullable<Binary>)]
    digest: Option<Vec<u8>>,
}

/// Reads the log, and on PostgreSQL what other nodes open.
pub struct LogReader {
    url: DatabaseUrl,
    connection: Option<AnyConnection>,
    timeline: Option<String>,
    /// The snapshot up to which it is known what was opened.
    opened_until: Option<String>,
}

/// Where to begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Connected {
    /// Where the connection before ended.
    Again,
    /// Anew, at the last revision there is: whatever is in memory may be of another
    /// history.
    Anew(Revision),
}

impl LogReader {
    pub(super) fn new(url: DatabaseUrl) -> Self {
        Self {
            url,
            connection: None,
            timeline: None,
            opened_until: None,
        }
    }

    /// Whether others may open sessions that this process does not know of.
    pub fn has_others(&self) -> bool {
        matches!(self.url, DatabaseUrl::Postgres(_))
    }

    /// Connects, in place of a connection that there may be. `begun`: whether it
    /// follows something already.
    ///
    /// # Errors
    ///
    /// When the database cannot.
    pub fn connect(&mut self, begun: bool) -> Result<Connected, DbError> {
        self.connection = None;
        let away = |error: diesel::ConnectionError| DbError::Unavailable(error.into());
        let (mut connection, timeline) = match &self.url {
            DatabaseUrl::Sqlite(path) => (
                AnyConnection::Sqlite(connect_sqlite(path).map_err(away)?),
                String::new(),
            ),
            DatabaseUrl::Postgres(uri) => {
                let mut postgres = connect_postgres(uri).map_err(away)?;
                postgres.batch_execute(LISTEN)?;
                diesel::sql_query(MEND_OPENED).execute(&mut postgres)?;
                let timeline: TextRow = diesel::sql_query(TIMELINE).get_result(&mut postgres)?;
                (AnyConnection::Postgres(postgres), timeline.text)
            }
        };
        let is_same = begun && self.timeline.as_ref() == Some(&timeline);
        let connected = if is_same {
            Connected::Again
        } else {
            if let AnyConnection::Postgres(postgres) = &mut connection {
                let snapshot: TextRow = diesel::sql_query(SNAPSHOT).get_result(postgres)?;
                self.opened_until = Some(snapshot.text);
            }
            Connected::Anew(revocations::head(&mut connection)?)
        };
        self.timeline = Some(timeline);
        self.connection = Some(connection);
        Ok(connected)
    }

    /// Drops the connection.
    pub fn disconnect(&mut self) {
        self.connection = None;
    }

    /// Whether it is connected, as far as it knows.
    pub fn is_connected(&self) -> bool {
        self.connection.is_some()
    }

    /// Whether the database has told of a revocation since it was asked last. It
    /// does not wait.
    ///
    /// # Errors
    ///
    /// When the connection is lost.
    pub fn is_notified(&mut self) -> Result<bool, DbError> {
        let AnyConnection::Postgres(postgres) = self.connection()? else {
            return Ok(false);
        };
        let mut notified = false;
        for notification in postgres.notifications_iter() {
            notification?;
            notified = true;
        }
        Ok(notified)
    }

    /// What the log has after a revision.
    ///
    /// # Errors
    ///
    /// When the database cannot.
    pub fn read(&mut self, after: Revision) -> Result<LogPage, DbError> {
        revocations::read(self.connection()?, after, READ_AT_ONCE)
    }

    /// The sessions that were opened, on whichever node, since it was asked last,
    /// and are open; perhaps more than these. On SQLite there are no other nodes,
    /// and none are returned.
    ///
    /// # Errors
    ///
    /// When the database cannot.
    pub fn opened(&mut self) -> Result<Vec<SessionDigest>, DbError> {
        let since = self.opened_until.clone();
        let (AnyConnection::Postgres(postgres), Some(since)) = (self.connection()?, since) else {
            return Ok(Vec::new());
        };
        let rows: Vec<OpenedRow> = diesel::sql_query(OPENED)
            .bind::<Text, _>(since)
            .load(postgres)?;
        let until = rows.iter().find_map(|row| row.text.clone());
        let opened = rows.iter().filter_map(|row| row.digest.as_deref());
        let opened: Result<Vec<SessionDigest>, DbError> = opened.map(to_digest).collect();
        self.opened_until = until;
        opened
    }

    fn connection(&mut self) -> Result<&mut AnyConnection, DbError> {
        self.connection
            .as_mut()
            .ok_or_else(|| DbError::Unavailable("it is not connected".into()))
    }
}
