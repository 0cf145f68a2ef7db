//! The effect of time on sessions: expired rows are removed, and times in the future are
//! replaced by the present.

use chrono::{DateTime, Utc};

use crate::db::{
    Db, DbError,
    batch_change::{Batch, Change},
};

impl Db {
    /// Removes at most `limit` sessions last seen or opened before these times, and returns
    /// their number.
    ///
    /// # Errors
    ///
    /// When the database fails.
    pub async fn remove_expired_sessions(
        &self,
        last_seen_before: DateTime<Utc>,
        created_before: DateTime<Utc>,
        limit: u32,
    ) -> Result<usize, DbError> {
        let batch = Batch {
            table: "sessions",
            key: "digest",
            condition: "last_seen_at <= $1 OR created_at <= $2",
            times: [last_seen_before.naive_utc(), created_before.naive_utc()],
            change: Change::Delete,
        };
        self.change_batch(batch, limit).await
    }

    /// Replaces times after `after` by `now`, in at most `limit` sessions, and returns the
    /// number of sessions.
    ///
    /// # Errors
    ///
    /// When the database fails.
    pub async fn bound_sessions(
        &self,
        after: DateTime<Utc>,
        now: DateTime<Utc>,
        limit: u32,
    ) -> Result<usize, DbError> {
        let batch = Batch {
            table: "sessions",
            key: "digest",
            // On SQLite this includes values that are not dates, and on both databases dates
            // beyond those that can be represented: they sort after every date.
            condition: "last_seen_at > $1 OR created_at > $2",
            times: [after.naive_utc(); 2],
            change: Change::SetByTime(
                "created_at = CASE WHEN created_at > $3 THEN $3 ELSE created_at END,
                 last_seen_at = CASE WHEN last_seen_at > $3 THEN $3 ELSE last_seen_at END",
                now.naive_utc(),
            ),
        };
        self.change_batch(batch, limit).await
    }
}
