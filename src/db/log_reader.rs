//! Following the log of revocations on a connection of its own, so that no other work
//! holds it up. It blocks.

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

/// How many revocations are read at once.
const READ_AT_ONCE: u32 = 5_000;

/// How many sessions that were opened since the last look are read. Where there are
/// more, to load all sessions page by page is quicker than to read these at once, which
/// might never be done within the limit on a statement.
const MOST_OPENED: usize = 50_000;

/// What the connection is known by among the server's.
const LISTEN: &str = "
    SET application_name = 'bienvenue revocations';
    LISTEN bienvenue_revocations;";

const SNAPSHOT: &str = "SELECT pg_current_snapshot()::text AS text";

/// The sessions of transactions from one number up to another, and of some before. The
/// upper bound leaves out what was restored from a server with higher numbers.
const OPENED: &str = "
    SELECT digest FROM sessions WHERE opened_in >= $1::xid8 AND opened_in < $2::xid8
    UNION ALL
    SELECT digest FROM sessions WHERE opened_in = ANY ($3::xid8[])
    LIMIT $4";

#[derive(QueryableByName)]
struct TextRow {
    #[diesel(sql_type = Text)]
    text: String,
}

#[derive(QueryableByName)]
struct OpenedRow {
    #[diesel(sql_type = Binary)]
    digest: Vec<u8>,
}

/// Reads the log from where the last reading ended, and on PostgreSQL what other
/// nodes open.
pub struct LogReader {
    connector: Connector,
    connection: Option<BoundedConnection>,
    /// `None` before the first reading.
    position: Option<Position>,
    /// The snapshot up to which it is known what was opened.
    opened_until: Option<Snapshot>,
}

/// Up to where the log was read, and the proof of which log that was.
struct Position {
    incarnation: String,
    revision: Revision,
    /// The entry at that revision, once it was read.
    entry: Option<Revocation>,
}

impl Position {
    /// Whether what was read is the continuation of the log up to here.
    fn is_continued_by(&self, page: &LogPage) -> bool {
        let is_same_entry = match (&self.entry, &page.start) {
            (Some(entry), Some(start)) => entry == start,
            // What was read may have been swept since then.
            (_, None) | (None, _) => true,
        };
        is_same_entry
            && page.continues(self.revision)
            && page.incarnation.as_ref() == Some(&self.incarnation)
    }
}

/// What a reading of the log came to.
#[derive(Debug)]
pub enum LogRead {
    /// The log goes on from where the reading before ended.
    Continued {
        /// What was added since then, in order.
        revocations: Vec<Revocation>,
        /// Up to where the log has been read.
        revision: Revision,
        /// Whether there may be more.
        has_more: bool,
    },
    /// It is the first reading, or nothing proves that this is the log that was read
    /// before: it goes on from the last revision there is. What is known of sessions
    /// may be of another history, which is not to be told from the log.
    Restarted(Revision),
}

impl LogReader {
    pub(super) fn new(url: DatabaseUrl) -> Self {
        Self {
            connector: Connector::new(url, LISTEN),
            connection: None,
            position: None,
            opened_until: None,
        }
    }

    /// Whether others may open sessions that this process does not know of.
    pub fn has_others(&self) -> bool {
        self.connector.is_to_server()
    }

    /// Connects, in place of a connection that there may be. The log has to be
    /// [`read`](Self::read) before anything else: it may be that of another server.
    ///
    /// # Errors
    ///
    /// When the database cannot.
    pub fn connect(&mut self) -> Result<(), DbError> {
        self.connection = None;
        self.connection = Some(self.connector.connect()?);
        Ok(())
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
        let mut connection = self.connection()?.lock();
        let AnyConnection::Postgres(postgres) = &mut *connection else {
            return Ok(false);
        };
        let mut notified = false;
        for notification in postgres.notifications_iter() {
            notification?;
            notified = true;
        }
        Ok(notified)
    }

    /// Reads on in the log. A connection may outlive the log that it reads: its tables
    /// may be restored meanwhile, or its entries rewritten.
    ///
    /// # Errors
    ///
    /// When the database cannot, or sessions may end without an entry in the log.
    pub fn read(&mut self) -> Result<LogRead, DbError> {
        let position = self.position.as_ref();
        let from = position.map_or(Revision(i64::MAX), |position| position.revision);
        let page = self
            .connection()?
            .run(move |connection| revocations::read(connection, from, READ_AT_ONCE))?;
        let Some(incarnation) = page.incarnation.clone() else {
            let why = "a trigger that logs what ends sessions is missing or disabled; restore \
                       the triggers on the tables sessions and users";
            return Err(DbError::Fault(why.into()));
        };
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

    /// The sessions that were opened, on whichever node, since it was asked last,
    /// and are open; perhaps more than these. On SQLite there are no other nodes,
    /// and none are returned. `None` when there are too many: the next reading of the
    /// log is a restart.
    ///
    /// # Errors
    ///
    /// When the database cannot.
    pub fn opened(&mut self) -> Result<Option<Vec<SessionDigest>>, DbError> {
        if !self.has_others() {
            return Ok(Some(Vec::new()));
        }
        let Some(since) = self.opened_until.clone() else {
            return Ok(Some(Vec::new()));
        };
        let (until, opened) = self.connection()?.run(move |connection| match connection {
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

/// The sessions that were opened since a snapshot, and the snapshot up to which these are
/// all; `None` when they are too many.
fn read_opened(
    postgres: &mut PgConnection,
    since: &Snapshot,
) -> Result<(Snapshot, Option<Vec<SessionDigest>>), DbError> {
    let until: TextRow = diesel::sql_query(SNAPSHOT).get_result(postgres)?;
    let until = to_snapshot(&until.text)?;
    let ended = since.ended_by(&until);
    if ended.is_empty() {
        return Ok((until, Some(Vec::new())));
    }
    let earlier: Vec<String> = ended.earlier.iter().map(u64::to_string).collect();
    // As the parameters of a query of its own, they are numbers that the planner can find
    // in its statistics.
    let rows: Vec<OpenedRow> = diesel::sql_query(OPENED)
        .bind::<Text, _>(ended.first.to_string())
        .bind::<Text, _>(ended.end.to_string())
        .bind::<Text, _>(format!("{{{}}}", earlier.join(",")))
        .bind::<BigInt, _>(MOST_OPENED as i64 + 1)
        .load(postgres)?;
    if rows.len() > MOST_OPENED {
        return Ok((until, None));
    }
    let opened: Result<Vec<_>, DbError> = rows.iter().map(|row| to_digest(&row.digest)).collect();
    Ok((until, Some(opened?)))
}

fn to_snapshot(text: &str) -> Result<Snapshot, DbError> {
    let unknown = |_| DbError::Fault(format!("{text:?} is no snapshot").into());
    text.parse().map_err(unknown)
}
