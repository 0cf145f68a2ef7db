//! What the passing of time does to the table `sessions`: what has expired is removed,
//! and what is dated after now is bounded.

use chrono::{DateTime, NaiveDateTime, Utc};
use diesel::{
    ExpressionMethods as _, QueryDsl as _, RunQueryDsl as _,
    sql_types::{BigInt, Timestamp},
};

use super::{Db, DbError, connection::AnyConnection, schema::sessions};

/// Rows that others are ending, or noting the use of, are left to the next sweep.
const REMOVE_ON_POSTGRES: &str = "
    DELETE FROM sessions WHERE digest IN (
        SELECT digest FROM sessions WHERE last_seen_at <= $1 OR created_at <= $2
        LIMIT $3 FOR UPDATE SKIP LOCKED)";

/// By the row, whatever a damaged digest looks like.
const REMOVE_ON_SQLITE: &str = "
    DELETE FROM sessions WHERE rowid IN (
        SELECT rowid FROM sessions WHERE last_seen_at <= $1 OR created_at <= $2 LIMIT $3)";

/// Parameters stand in the order of their numbers: SQLite counts them as they come. Also
/// what is no date, on SQLite, and what is beyond the dates that can be
/// represented: both sort after every date.
const BOUND_ON_POSTGRES: &str = "
    UPDATE sessions SET created_at = least(created_at, $1), last_seen_at = least(last_seen_at, $1)
    WHERE digest IN (
        SELECT digest FROM sessions WHERE last_seen_at > $2 OR created_at > $2
        LIMIT $3 FOR NO KEY UPDATE SKIP LOCKED)";

const BOUND_ON_SQLITE: &str = "
    UPDATE sessions SET created_at = min(created_at, $1), last_seen_at = min(last_seen_at, $1)
    WHERE rowid IN (
        SELECT rowid FROM sessions WHERE last_seen_at > $2 OR created_at > $2 LIMIT $3)";

impl Db {
    /// Removes some sessions, at most `most`, that were last seen or opened
    /// before these times; returns how many there were.
    ///
    /// # Errors
    ///
    /// When the database cannot.
    pub async fn remove_expired_sessions(
        &self,
        last_seen_before: DateTime<Utc>,
        created_before: DateTime<Utc>,
        most: u32,
    ) -> Result<usize, DbError> {
        let times = [last_seen_before.naive_utc(), created_before.naive_utc()];
        // Most of the time there are none: no need for a turn to write.
        let found = self
            .read(move |connection| {
                let found: Vec<i64> = sessions::table
                    .filter(sessions::last_seen_at.le(times[0]))
                    .or_filter(sessions::created_at.le(times[1]))
                    .select(sessions::user_id)
                    .limit(1)
                    .load(connection)?;
                Ok(!found.is_empty())
            })
            .await?;
        if !found {
            return Ok(0);
        }
        self.write(move |connection| match connection {
            AnyConnection::Sqlite(_) => change(connection, REMOVE_ON_SQLITE, times, most),
            AnyConnection::Postgres(_) => change(connection, REMOVE_ON_POSTGRES, times, most),
        })
        .await
    }

    /// Takes some sessions, at most `most`, one of whose times is after `after`, for
    /// opened or seen at `now` instead; returns how many there were.
    ///
    /// # Errors
    ///
    /// When the database cannot.
    pub async fn bound_sessions(
        &self,
        after: DateTime<Utc>,
        now: DateTime<Utc>,
        most: u32,
    ) -> Result<usize, DbError> {
        let times = [now.naive_utc(), after.naive_utc()];
        let found = self
            .read(move |connection| {
                let found: Vec<i64> = sessions::table
                    .filter(sessions::last_seen_at.gt(times[1]))
                    .or_filter(sessions::created_at.gt(times[1]))
                    .select(sessions::user_id)
                    .limit(1)
                    .load(connection)?;
                Ok(!found.is_empty())
            })
            .await?;
        if !found {
            return Ok(0);
        }
        self.write(move |connection| match connection {
            AnyConnection::Sqlite(_) => change(connection, BOUND_ON_SQLITE, times, most),
            AnyConnection::Postgres(_) => change(connection, BOUND_ON_POSTGRES, times, most),
        })
        .await
    }
}

fn change(
    connection: &mut AnyConnection,
    statement: &str,
    times: [NaiveDateTime; 2],
    most: u32,
) -> Result<usize, DbError> {
    let change = diesel::sql_query(statement)
        .bind::<Timestamp, _>(times[0])
        .bind::<Timestamp, _>(times[1])
        .bind::<BigInt, _>(i64::from(most));
    Ok(match connection {
        AnyConnection::Sqlite(sqlite) => change.execute(sqlite)?,
        AnyConnection::Postgres(postgres) => change.execute(postgres)?,
    })
}
