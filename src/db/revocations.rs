//! The table `revocations`, which the database's own triggers write.

use chrono::{DateTime, Utc};
use diesel::{
    ExpressionMethods as _, QueryDsl as _, QueryableByName, RunQueryDsl as _,
    dsl::max,
    sql_types::{BigInt, Binary, Nullable, Text},
};

use super::{
    Db, DbError,
    connection::AnyConnection,
    readable::Readable,
    schema::{revocations, swept_revocations},
};
use crate::domain::{Revision, Revocation, RevocationEvent, SessionDigest, SessionHandle, UserId};

/// A part of the log, with what says which log it is; all of one moment.
#[derive(Debug)]
pub struct LogPage {
    /// The entry at the revision that was asked from, where the log has one.
    pub start: Option<Revocation>,
    /// What came after that revision, in order.
    pub revocations: Vec<Revocation>,
    /// Up to which revision the log has been swept.
    pub swept_through: Revision,
    /// The last revision there is.
    pub head: Revision,
    /// Whether there may be more.
    pub has_more: bool,
    /// What differs between two servers, or two states of one, of which the one does
    /// not follow from the other. `None` while sessions may end without an entry.
    pub(super) incarnation: Option<String>,
    /// Which transactions were over, on PostgreSQL.
    pub(super) snapshot: Option<String>,
}

impl LogPage {
    /// Whether this is the log that gave out the revision `from`, and has everything
    /// that came after it. Revisions are random: one that was lost together with the
    /// end of a log is not used again.
    pub fn continues(&self, from: Revision) -> bool {
        from == self.swept_through || (from > self.swept_through && self.start.is_some())
    }
}

/// The entries from a revision on, and the state of the log, in one statement, and so
/// of one moment. On PostgreSQL an incarnation is a timeline, a run of the server, a
/// database, and the triggers that write the log, with the transactions that wrote them:
/// to switch them off and on, or to restore the tables, makes others of them.
const READ_POSTGRES: &str = "
    SELECT through, (SELECT max(revision) FROM revocations) AS revision,
           NULL AS kind, NULL AS user_id, NULL AS handle, NULL AS digest,
           (SELECT concat_ws(' ', left(pg_walfile_name(pg_current_wal_lsn()), 8),
                             extract(epoch FROM pg_postmaster_start_time()),
                             (SELECT oid FROM pg_database WHERE datname = current_database()),
                             string_agg(oid || ':' || xmin, ' ' ORDER BY oid))
            FROM pg_trigger
            WHERE tgrelid IN ('sessions'::regclass, 'users'::regclass)
              AND tgname IN ('sessions_ended', 'users_credentials_changed', 'users_removed',
                             'users_changed')
              AND tgenabled IN ('O', 'A')
            HAVING count(*) = 4) AS incarnation,
           pg_current_snapshot()::text AS snapshot
    FROM swept_revocations
    UNION ALL
    SELECT NULL, revision, kind, user_id, handle, digest, NULL, NULL
    FROM (SELECT * FROM revocations WHERE revision >= $1 ORDER BY revision LIMIT $2) AS log";

/// The same on SQLite, where every change of the schema, every `VACUUM` and every
/// restored backup changes its version.
const READ_SQLITE: &str = "
    SELECT through, (SELECT max(revision) FROM revocations) AS revision,
           NULL AS kind, NULL AS user_id, NULL AS handle, NULL AS digest,
           (SELECT CAST(schema_version AS TEXT) FROM pragma_schema_version
            WHERE 4 = (SELECT count(*) FROM sqlite_schema
                       WHERE type = 'trigger'
                         AND name IN ('sessions_ended', 'users_credentials_changed',
                                      'users_removed', 'users_changed'))) AS incarnation,
           NULL AS snapshot
    FROM swept_revocations
    UNION ALL
    SELECT NULL, revision, kind, user_id, handle, digest, NULL, NULL
    FROM (SELECT * FROM revocations WHERE revision >= $1 ORDER BY revision LIMIT $2) AS log";

/// A row of either half; in the first one, `revision` is the last there is.
#[derive(QueryableByName)]
struct LogRow {
    #[diesel(sql_type = Nullable<BigInt>)]
    through: Option<i64>,
    #[diesel(sql_type = Nullable<BigInt>)]
    revision: Option<i64>,
    #[diesel(sql_type = Nullable<Text>)]
    kind: Option<Readable<String>>,
    #[diesel(sql_type = Nullable<BigInt>)]
    user_id: Option<i64>,
    #[diesel(sql_type = Nullable<Text>)]
    handle: Option<Readable<String>>,
    #[diesel(sql_type = Nullable<Binary>)]
    digest: Option<Vec<u8>>,
    #[diesel(sql_type = Nullable<Text>)]
    incarnation: Option<String>,
    #[diesel(sql_type = Nullable<Text>)]
    snapshot: Option<String>,
}

impl LogRow {
    fn into_revocation(self) -> Option<Revocation> {
        let digest = self.digest.as_deref().and_then(SessionDigest::from_bytes);
        let kind = self.kind.and_then(Readable::ok);
        let handle = self.handle.and_then(Readable::ok);
        let event = match (kind.as_deref(), digest) {
            (Some("session_ended"), Some(digest)) => RevocationEvent::SessionEnded {
                digest,
                handle: handle.as_deref().and_then(SessionHandle::parse),
            },
            (Some("user_changed"), _) => RevocationEvent::UserChanged,
            // Whatever cannot be read otherwise: all that there is of the user.
            _ => RevocationEvent::UserSessionsEnded,
        };
        Some(Revocation {
            revision: Revision(self.revision?),
            user_id: UserId(self.user_id?),
            event,
        })
    }
}

/// What the log has after a revision, at most `most` entries, and its entry at that
/// revision.
pub(super) fn read(
    connection: &mut AnyConnection,
    after: Revision,
    most: u32,
) -> Result<LogPage, DbError> {
    let sql = match connection {
        AnyConnection::Sqlite(_) => READ_SQLITE,
        AnyConnection::Postgres(_) => READ_POSTGRES,
    };
    let query = diesel::sql_query(sql)
        .bind::<BigInt, _>(after.0)
        .bind::<BigInt, _>(i64::from(most) + 1);
    let mut rows: Vec<LogRow> = match connection {
        AnyConnection::Sqlite(sqlite) => query.load(sqlite)?,
        AnyConnection::Postgres(postgres) => query.load(postgres)?,
    };
    let state = rows.iter().position(|row| row.through.is_some());
    let state = state.map(|at| rows.swap_remove(at));
    let state = state.ok_or_else(|| DbError::Fault("swept_revocations has no row".into()))?;
    let swept_through = state.through.unwrap_or_default();
    let mut revocations: Vec<Revocation> = rows
        .into_iter()
        .filter_map(LogRow::into_revocation)
        .collect();
    // No part of a union promises its order.
    revocations.sort_unstable_by_key(|revocation| revocation.revision);
    let has_start = revocations
        .first()
        .is_some_and(|first| first.revision == after);
    let start = has_start.then(|| revocations.remove(0));
    Ok(LogPage {
        swept_through: Revision(swept_through),
        head: Revision(state.revision.unwrap_or_default().max(swept_through)),
        has_more: revocations.len() >= most as usize,
        start,
        revocations,
        incarnation: state.incarnation,
        snapshot: state.snapshot,
    })
}

impl Db {
    /// What the log of revocations has after a revision, at most `most` entries.
    ///
    /// # Errors
    ///
    /// When the database cannot.
    pub async fn revocations_after(&self, after: Revision, most: u32) -> Result<LogPage, DbError> {
        self.read(move |connection| read(connection, after, most))
            .await
    }

    /// Removes revocations that were logged before `before`, at most `most`, always
    /// the first ones there are, and never the last one, by which the log is
    /// recognised; returns how many there were.
    ///
    /// # Errors
    ///
    /// When the database cannot.
    pub async fn sweep_revocations(
        &self,
        before: DateTime<Utc>,
        most: u32,
    ) -> Result<usize, DbError> {
        let before = before.naive_utc();
        let last_of_old = move |connection: &mut AnyConnection| {
            let newest: Option<i64> = revocations::table
                .select(max(revocations::revision))
                .first(connection)?;
            let old: Vec<i64> = revocations::table
                .filter(revocations::at.lt(before))
                .filter(revocations::revision.lt(newest.unwrap_or_default()))
                .order(revocations::revision)
                .select(revocations::revision)
                .limit(most.into())
                .load(connection)?;
            Ok::<_, DbError>(old.last().copied())
        };
        // Most of the time there are none: no need for a turn to write.
        if self.read(last_of_old).await?.is_none() {
            return Ok(0);
        }
        self.write(move |connection| {
            let Some(last) = last_of_old(connection)? else {
                return Ok(0);
            };
            // First, so that of several nodes one sweeps.
            let swept = swept_revocations::table.filter(swept_revocations::through.lt(last));
            let update = diesel::update(swept).set(swept_revocations::through.eq(last));
            if update.execute(connection)? == 0 {
                return Ok(0);
            }
            let old = revocations::table.filter(revocations::revision.le(last));
            Ok(diesel::delete(old).execute(connection)?)
        })
        .await
    }
}
