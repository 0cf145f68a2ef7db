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
    schema::{revocations, swept_revocations},
};
use crate::domain::{Revision, Revocation, RevocationEvent, SessionDigest, SessionHandle, UserId};

/// A part of the log.
#[derive(Debug)]
pub struct LogPage {
    /// What came after the revision that was asked from, in order.
    pub revocations: Vec<Revocation>,
    /// Up to which revision the log has been swept. Where that is later than what
    /// was asked from, something may be missing.
    pub swept_through: Revision,
    /// The last revision there is.
    pub head: Revision,
    /// Whether there may be more.
    pub has_more: bool,
}

/// Both in one statement, and so of one moment.
const READ: &str = "
    SELECT through, (SELECT max(revision) FROM revocations) AS revision,
           NULL AS kind, NULL AS user_id, NULL AS handle, NULL AS digest
    FROM swept_revocations
    UNION ALL
    SELECT CAST(NULL AS BIGINT), revision, kind, user_id, handle, digest
    FROM (SELECT * FROM revocations WHERE revision > $1 ORDER BY revision LIMIT $2) AS log";

/// A row of either half; in the first one, `revision` is the last there is.
#[derive(QueryableByName)]
struct LogRow {
    #[diesel(sql_type = Nullable<BigInt>)]
    through: Option<i64>,
    #[diesel(sql_type = Nullable<BigInt>)]
    revision: Option<i64>,
    #[diesel(sql_type = Nullable<Text>)]
    kind: Option<String>,
    #[diesel(sql_type = Nullable<BigInt>)]
    user_id: Option<i64>,
    #[diesel(sql_type = Nullable<Text>)]
    handle: Option<String>,
    #[diesel(sql_type = Nullable<Binary>)]
    digest: Option<Vec<u8>>,
}

impl LogRow {
    fn into_revocation(self) -> Option<Revocation> {
        let digest = self.digest.as_deref().and_then(SessionDigest::from_bytes);
        let event = match (self.kind.as_deref(), digest) {
            (Some("session_ended"), Some(digest)) => RevocationEvent::SessionEnded {
                digest,
                handle: self.handle.as_deref().and_then(SessionHandle::parse),
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

/// What the log has after a revision, at most `most` entries.
pub(super) fn read(
    connection: &mut AnyConnection,
    after: Revision,
    most: u32,
) -> Result<LogPage, DbError> {
    let query = diesel::sql_query(READ)
        .bind::<BigInt, _>(after.0)
        .bind::<BigInt, _>(i64::from(most));
    let rows: Vec<LogRow> = match connection {
        AnyConnection::Sqlite(sqlite) => query.load(sqlite)?,
        AnyConnection::Postgres(postgres) => query.load(postgres)?,
    };
    let bounds = rows
        .iter()
        .find_map(|row| Some((row.through?, row.revision)));
    let (swept_through, last) =
        bounds.ok_or_else(|| DbError::Fault("swept_revocations has no row".into()))?;
    let mut revocations: Vec<Revocation> = rows
        .into_iter()
        .filter_map(LogRow::into_revocation)
        .collect();
    // No part of a union promises its order.
    revocations.sort_unstable_by_key(|revocation| revocation.revision);
    Ok(LogPage {
        swept_through: Revision(swept_through),
        head: Revision(last.unwrap_or_default().max(swept_through)),
        has_more: revocations.len() >= most as usize,
        revocations,
    })
}

/// The last revision there is.
pub(super) fn head(connection: &mut AnyConnection) -> Result<Revision, DbError> {
    let last: Option<i64> = revocations::table
        .select(max(revocations::revision))
        .first(connection)?;
    let swept: i64 = swept_revocations::table
        .select(swept_revocations::through)
        .first(connection)?;
    Ok(Revision(last.unwrap_or_default().max(swept)))
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
    /// the first ones there are; returns how many there were.
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
            let old: Vec<i64> = revocations::table
                .filter(revocations::at.lt(before))
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
