//! Following the log of revocations on a dedicated connection, so that other work does not
//! delay it. The functions block the thread.

use std::mem;

#[cfg(feature = "postgres")]
use diesel::{
    PgConnection, QueryableByName, RunQueryDsl as _,
    sql_types::{BigInt, Binary, Text},
};

use super::{
    DbError,
    bounded_connection::{BoundedConnection, Connector},
    connection::AnyConnection,
    revocations::{self, LogPage},
    sessions::to_digest,
    snapshot::Snapshot,
    url::DatabaseUrl,
};
use crate::domain::{Revision, Revocation, SessionDigest};

/// The number of revocations read at once.
const READ_AT_ONCE: u32 = 5_000;

/// The most sessions opened since the last query that are read at once. More of them might
/// never be read within the time limit of a statement; then all sessions are loaded again,
/// page by page.
#[cfg(feature = "postgres")]
const MAX_OPENED: usize = 50_000;

/// Names the connection for the server's statistics, and subscribes to notifications.
const LISTEN: &str = "
    SET application_name = 'bienvenue revocations';
    LISTEN bienvenue_revocations;";

#[cfg(feature = "postgres")]
const SNAPSHOT: &str = "SELECT pg_current_snapshot()::text AS text";

/// The sessions of a range of transactions, and of some earlier ones. The upper bound excludes
/// rows restored from a server with higher transaction numbers.
#[cfg(feature = "postgres")]
const OPENED: &str = "
    SELECT digest FROM sessions WHERE opened_in >= $1::xid8 AND opened_in < $2::xid8
    UNION ALL
    SELECT digest FROM sessions WHERE opened_in = ANY ($3::xid8[])
    LIMIT $4";

#[cfg(feature = "postgres")]
#[derive(QueryableByName)]
struct TextRow {
    #[diesel(sql_type = Text)]
    text: String,
}

#[cfg(feature = "postgres")]
#[derive(QueryableByName)]
struct OpenedRow {
    #[diesel(sql_type = Binary)]
    digest: Vec<u8>,
}

/// Reads the log from the end of the previous reading, and on PostgreSQL the sessions opened
/// by other nodes.
pub struct LogReader {
    connector: Connector,
    connection: Option<BoundedConnection>,
    /// `None` before the first reading.
    position: Option<Position>,
    /// The snapshot up to which all opened sessions have been read.
    opened_until: Option<Snapshot>,
    /// Whether entries of a kind that this version does not know have been logged.
    has_logged_unknown: bool,
}

/// The end of the previous reading, and the proof of the log's identity.
struct Position {
    incarnation: String,
    revision: Revision,
    /// The entry at that revision, if it has been read.
    entry: Option<Revocation>,
}

impl Position {
    /// Whether a page continues the same log from this position.
    fn is_continued_by(&self, page: &LogPage) -> bool {
        let is_same_entry = match (&self.entry, &page.start) {
            (Some(entry), Some(start)) => entry == start,
            // The entry may have been swept since then.
            (_, None) | (None, _) => true,
        };
        is_same_entry
            && page.continues(self.revision)
            && page.incarnation.as_ref() == Some(&self.incarnation)
    }
}

/// The result of reading the log.
#[derive(Debug)]
pub enum LogRead {
    /// The log continues from the end of the previous reading.
    Continued {
        /// The entries added since then, in order.
        revocations: Vec<Revocation>,
        /// The last revision read.
        revision: Revision,
        /// Whether there may be more entries.
        has_more: bool,
    },
    /// It is the first reading, or the log cannot be proven to be the one read before; reading
    /// continues from its last revision. Sessions in memory may belong to another history of
    /// the database, which the log does not show.
    Restarted(Revision),
}

impl LogReader {
    pub(super) fn new(url: DatabaseUrl) -> Self {
        Self {
            connector: Connector::new(url, LISTEN),
            connection: None,
            position: None,
            opened_until: None,
            has_logged_unknown: false,
        }
    }

    /// Whether other nodes may open sessions.
    pub fn has_others(&self) -> bool {
        self.connector.is_to_server()
    }

    /// Connects, replacing an open connection. The log has to be [`read`](Self::read) first:
    /// the connection may lead to another server.
    ///
    /// # Errors
    ///
    /// When the database fails.
    pub fn connect(&mut self) -> Result<(), DbError> {
        self.connection = None;
        self.connection = Some(self.connector.connect()?);
        Ok(())
    }

    /// Drops the connection.
    pub fn disconnect(&mut self) {
        self.connection = None;
    }

    /// Whether it is connected, as far as this end knows.
    pub fn is_connected(&self) -> bool {
        self.connection.is_some()
    }

    /// Whether the database has sent a notification since the last call. It does not wait.
    ///
    /// # Errors
    ///
    /// When the connection is lost.
    pub fn is_notified(&mut self) -> Result<bool, DbError> {
        let mut connection = self.connection()?.lock();
        match &mut *connection {
            AnyConnection::Sqlite(_) => Ok(false),
            #[cfg(feature = "postgres")]
            AnyConnection::Postgres(postgres) => {
                let mut notified = false;
                for notification in postgres.notifications_iter() {
                    notification?;
                    notified = true;
                }
                Ok(notified)
            }
        }
    }

    /// Reads the next part of the log. A connection may outlive the log that it reads: the
    /// tables may be restored in the meantime, or the entries rewritten.
    ///
    /// # Errors
    ///
    /// When the database fails, or sessions may end without an entry in the log.
    pub fn read(&mut self) -> Result<LogRead, DbError> {
        let position = self.position.as_ref();
        let from = position.map_or(Revision(i64::MAX), |position| position.revision);
        let page = self
            .connection()?
            .run(move |connection| revocations::read(connection, from, READ_AT_ONCE))?;
        let Some(incarnation) = page.incarnation.clone() else {
            let why = "a trigger that logs the end of sessions is missing or disabled; restore \
                       the triggers on the tables sessions and users";
            return Err(DbError::Fault(why.into()));
        };
        if page.has_unknown_kind && !mem::replace(&mut self.has_logged_unknown, true) {
            tracing::warn!(
                table = "revocations",
                "entries of a kind that this version does not know are treated as the end of all \
                 sessions of their users"
            );
        }
        let snapshot = page.snapshot.as_deref().map(to_snapshot).transpose()?;
        let is_same_server = match (&self.opened_until, &snapshot) {
            (Some(before), Some(now)) => before.precedes(now),
            _ => true,
        };
        match &mut self.position {
            Some(position) if is_same_server && position.is_continued_by(&page) => {
                position.entry = page.revocations.last().copied().or(page.start);
                if let Some(last) = page.revocations.last() {
                    position.revision = last.revision;
                }
                Ok(LogRead::Continued {
                    revision: position.revision,
                    revocations: page.revocations,
                    has_more: page.has_more,
                })
            }
            position => {
                *position = Some(Position {
                    incarnation,
                    revision: page.head,
                    entry: None,
                });
                self.opened_until = snapshot;
                Ok(LogRead::Restarted(page.head))
            }
        }
    }

    /// The sessions opened on any node since the last call that are still open; possibly also
    /// others. On SQLite, which has no other nodes, none are returned. `None` when there are
    /// too many: the next reading of the log is a restart.
    ///
    /// # Errors
    ///
    /// When the database fails.
    pub fn opened(&mut self) -> Result<Option<Vec<SessionDigest>>, DbError> {
        if !self.has_others() {
            return Ok(Some(Vec::new()));
        }
        let Some(since) = self.opened_until.clone() else {
            return Ok(Some(Vec::new()));
        };
        let (until, opened) = self.connection()?.run(move |connection| match connection {
            #[cfg(feature = "postgres")]
            AnyConnection::Postgres(postgres) => read_opened(postgres, &since),
            AnyConnection::Sqlite(_) => Ok((since, Some(Vec::new()))),
        })?;
        match &opened {
            Some(_) => self.opened_until = Some(until),
            None => self.position = None,
        }
        Ok(opened)
    }

    fn connection(&self) -> Result<&BoundedConnection, DbError> {
        self.connection
            .as_ref()
            .ok_or_else(|| DbError::Unavailable("it is not connected".into()))
    }
}

/// The sessions opened since a snapshot, and the snapshot up to which they are complete;
/// `None` when there are too many.
#[cfg(feature = "postgres")]
fn read_opened(
    postgres: &mut PgConnection,
    since: &Snapshot,
) -> Result<(Snapshot, Option<Vec<SessionDigest>>), DbError> {
    let until: TextRow = diesel::sql_query(SNAPSHOT).get_result(postgres)?;
    let until = to_snapshot(&until.text)?;
    let completed = since.completed_by(&until);
    if completed.is_empty() {
        return Ok((until, Some(Vec::new())));
    }
    let earlier: Vec<String> = completed.earlier.iter().map(u64::to_string).collect();
    // In a query of their own, the bounds are parameters whose values the planner can look up
    // in its statistics.
    let rows: Vec<OpenedRow> = diesel::sql_query(OPENED)
        .bind::<Text, _>(completed.first.to_string())
        .bind::<Text, _>(completed.end.to_string())
        .bind::<Text, _>(format!("{{{}}}", earlier.join(",")))
        .bind::<BigInt, _>(MAX_OPENED as i64 + 1)
        .load(postgres)?;
    if rows.len() > MAX_OPENED {
        return Ok((until, None));
    }
    let opened: Result<Vec<_>, DbError> = rows.iter().map(|row| to_digest(&row.digest)).collect();
    Ok((until, Some(opened?)))
}

fn to_snapshot(text: &str) -> Result<Snapshot, DbError> {
    let unknown = |_| DbError::Fault(format!("{text:?} is not a snapshot").into());
    text.parse().map_err(unknown)
}
