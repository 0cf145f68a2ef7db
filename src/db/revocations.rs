//! The table `revocations`, the log of revocations, written by triggers.

use chrono::{DateTime, Utc};
use diesel::{
    ExpressionMethods as _, QueryDsl as _, QueryableByName, RunQueryDsl as _,
    dsl::max,
    sql_types::{BigInt, Binary, Nullable, Text},
};

use super::{
    Db, DbError,
    connection::{AnyConnection, on_backend},
    readable::Readable,
    schema::{revocations, swept_revocations},
};
use crate::domain::{Revision, Revocation, RevocationEvent, SessionDigest, SessionHandle, UserId};

/// A part of the log, and the log's identity, both read at one moment.
#[derive(Debug)]
pub struct LogPage {
    /// The entry at the requested revision, if the log has one.
    pub start: Option<Revocation>,
    /// The entries after that revision, in order.
    pub revocations: Vec<Revocation>,
    /// The revision up to which the log has been swept.
    pub swept_through: Revision,
    /// The last revision of the log.
    pub head: Revision,
    /// Whether there may be more entries.
    pub has_more: bool,
    /// The identity of the database's history: it differs between two servers, and between two
    /// states of one server where the later did not evolve from the earlier. `None` while
    /// sessions may end without an entry.
    pub(super) incarnation: Option<String>,
    /// The transactions in progress, on PostgreSQL.
    pub(super) snapshot: Option<String>,
    /// Whether an entry has a kind that this version does not know.
    pub(super) has_unknown_kind: bool,
}

impl LogPage {
    /// Whether this log has assigned the revision `from` and still has all entries after it.
    /// Revisions are random, so that one lost with the end of a log is not assigned again.
    pub fn continues(&self, from: Revision) -> bool {
        from == self.swept_through || (from > self.swept_through && self.start.is_some())
    }
}

/// The state of the log and its entries from a revision on, in one statement and so at one
/// moment. On PostgreSQL the incarnation consists of the timeline, the start time of the
/// server, the database, and the triggers that write the log with the transactions that
/// created or changed them: disabling and enabling them, or restoring the tables, changes it.
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

/// The same on SQLite, whose schema version changes with every change of the schema, every
/// `VACUUM` and every restored backup.
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

/// The kinds of entries.
const KINDS: [&str; 3] = ["session_ended", "user_sessions_ended", "user_changed"];

/// A row of either half of the union. In the state, `revision` is the last one of the log.
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
    fn has_unknown_kind(&self) -> bool {
        let kind = self.kind.as_ref().map(Readable::get);
        kind.is_some_and(|kind| !kind.is_some_and(|kind| KINDS.contains(&kind.as_str())))
    }

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
            // Damaged entries, and those of a later version, may have ended any session of
            // the user.
            _ => RevocationEvent::UserSessionsEnded,
        };
        Some(Revocation {
            revision: Revision(self.revision?),
            user_id: UserId(self.user_id?),
            event,
        })
    }
}

/// Reads at most `limit` entries after a revision, and the entry at that revision.
pub(super) fn read(
    connection: &mut AnyConnection,
    after: Revision,
    limit: u32,
) -> Result<LogPage, DbError> {
    let query = diesel::sql_query(connection.select(READ_SQLITE, READ_POSTGRES))
        .bind::<BigInt, _>(after.0)
        .bind::<BigInt, _>(i64::from(limit) + 1);
    let mut rows: Vec<LogRow> = on_backend!(connection, |backend| query.load(backend))?;
    let state = rows.iter().position(|row| row.through.is_some());
    let state = state.map(|at| rows.swap_remove(at));
    let state = state.ok_or_else(|| DbError::Fault("swept_revocations has no row".into()))?;
    let swept_through = state.through.unwrap_or_default();
    let has_unknown_kind = rows.iter().any(LogRow::has_unknown_kind);
    let mut revocations: Vec<Revocation> = rows
        .into_iter()
        .filter_map(LogRow::into_revocation)
        .collect();
    // The order of a union is not guaranteed.
    revocations.sort_unstable_by_key(|revocation| revocation.revision);
    let has_start = revocations
        .first()
        .is_some_and(|first| first.revision == after);
    let start = has_start.then(|| revocations.remove(0));
    // Without an entry at that revision, one too many was read.
    revocations.truncate(limit as usize);
    Ok(LogPage {
        swept_through: Revision(swept_through),
        head: Revision(state.revision.unwrap_or_default().max(swept_through)),
        has_more: revocations.len() >= limit as usize,
        start,
        revocations,
        incarnation: state.incarnation,
        snapshot: state.snapshot,
        has_unknown_kind,
    })
}

impl Db {
    /// Reads at most `limit` entries of the log of revocations after a revision.
    ///
    /// # Errors
    ///
    /// When the database fails.
    pub async fn revocations_after(&self, after: Revision, limit: u32) -> Result<LogPage, DbError> {
        self.read(move |connection| read(connection, after, limit))
            .await
    }

    /// Removes at most `limit` entries logged before `before`, from the start of the log, and
    /// returns their number. The last entry always stays, since it identifies the log.
    ///
    /// # Errors
    ///
    /// When the database fails.
    pub async fn sweep_revocations(
        &self,
        before: DateTime<Utc>,
        limit: u32,
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
                .limit(limit.into())
                .load(connection)?;
            Ok::<_, DbError>(old.last().copied())
        };
        // There are usually none; then nothing waits for the permission to write.
        if self.read(last_of_old).await?.is_none() {
            return Ok(0);
        }
        self.write(move |connection| {
            let Some(last) = last_of_old(connection)? else {
                return Ok(0);
            };
            // This update comes first, so that only one of several nodes sweeps.
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
