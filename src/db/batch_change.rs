//! Deleting or updating a bounded number of rows at a time, so that no unit of work holds up the
//! others.

use chrono::NaiveDateTime;
use diesel::{
    QueryableByName, RunQueryDsl as _,
    sql_types::{Bool, Timestamp},
};

use super::{
    Db, DbError,
    connection::{AnyConnection, on_backend},
};

/// The rows to change and the change to make, as parts of a statement.
#[derive(Clone, Copy)]
pub(super) struct Batch {
    pub(super) table: &'static str,
    /// The primary key on PostgreSQL. SQLite uses the rowid, which exists however damaged
    /// the key is.
    pub(super) key: &'static str,
    /// The condition, with the parameters `$1` and `$2`, first used in this order: SQLite
    /// numbers parameters as they appear.
    pub(super) condition: &'static str,
    pub(super) times: [NaiveDateTime; 2],
    pub(super) change: Change,
}

/// The change to the rows of a [`Batch`].
#[derive(Clone, Copy)]
pub(super) enum Change {
    /// They are deleted.
    Delete,
    /// Columns are set to constants.
    Set(&'static str),
    /// Columns are set to values that depend on the parameter `$3`, and possibly on those of the
    /// condition.
    SetByTime(&'static str, NaiveDateTime),
}

#[derive(QueryableByName)]
struct Found {
    #[diesel(sql_type = Bool)]
    found: bool,
}

impl Batch {
    /// Whether any row meets the condition.
    fn is_needed(&self, connection: &mut AnyConnection) -> Result<bool, DbError> {
        let Self {
            table, condition, ..
        } = self;
        let query = diesel::sql_query(format!(
            "SELECT EXISTS (SELECT 1 FROM {table} WHERE {condition}) AS found"
        ))
        .bind::<Timestamp, _>(self.times[0])
        .bind::<Timestamp, _>(self.times[1]);
        let row: Found = on_backend!(connection, |backend| query.get_result(backend))?;
        Ok(row.found)
    }

    /// Changes at most `limit` rows. Rows locked by another unit of work are skipped: the
    /// next batch has them.
    fn run(&self, connection: &mut AnyConnection, limit: u32) -> Result<usize, DbError> {
        let Self {
            table,
            key,
            condition,
            change,
            ..
        } = self;
        let statement = match change {
            Change::Delete => format!("DELETE FROM {table}"),
            Change::Set(columns) | Change::SetByTime(columns, _) => {
                format!("UPDATE {table} SET {columns}")
            }
        };
        let (key, lock) = match (&*connection, change) {
            // SQLite has one writer at a time.
            (AnyConnection::Sqlite(_), _) => ("rowid", ""),
            #[cfg(feature = "postgres")]
            (AnyConnection::Postgres(_), Change::Delete) => (*key, "FOR UPDATE SKIP LOCKED"),
            #[cfg(feature = "postgres")]
            (AnyConnection::Postgres(_), _) => (*key, "FOR NO KEY UPDATE SKIP LOCKED"),
        };
        let query = diesel::sql_query(format!(
            "WITH batch AS (SELECT {key} AS key FROM {table} WHERE {condition} LIMIT {limit} {lock})
             {statement} WHERE {key} IN (SELECT key FROM batch)"
        ))
        .bind::<Timestamp, _>(self.times[0])
        .bind::<Timestamp, _>(self.times[1]);
        let changed = match change {
            Change::SetByTime(_, time) => {
                let query = query.bind::<Timestamp, _>(*time);
                on_backend!(connection, |backend| query.execute(backend))
            }
            _ => on_backend!(connection, |backend| query.execute(backend)),
        };
        Ok(changed?)
    }
}

impl Db {
    /// Changes at most `limit` rows and returns their number. Where there are none, which is
    /// the usual case, nothing waits for the permission to write.
    pub(super) async fn change_batch(&self, batch: Batch, limit: u32) -> Result<usize, DbError> {
        let is_needed = self
            .read(move |connection| batch.is_needed(connection))
            .await?;
        if !is_needed {
            return Ok(0);
        }
        self.write(move |connection| batch.run(connection, limit))
            .await
    }
}
