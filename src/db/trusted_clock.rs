//! The table `trusted_clock`, and the clock of the database server.

use chrono::{DateTime, NaiveDateTime, Utc};
use diesel::{
    ExpressionMethods as _, QueryableByName, RunQueryDsl as _,
    sql_types::{Nullable, Timestamp},
};

use super::{Db, DbError, connection::on_backend, readable::Readable, schema::trusted_clock};

const READ_ON_POSTGRES: &str = "
    SELECT (SELECT max(trusted_at) FROM trusted_clock) AS trusted_at,
           clock_timestamp() AT TIME ZONE 'UTC' AS now";

/// A file has no clock of its own.
const READ_ON_SQLITE: &str = "
    SELECT (SELECT max(trusted_at) FROM trusted_clock) AS trusted_at, NULL AS now";

/// The times that the database provides.
#[derive(Clone, Copy, Debug)]
pub struct ClockRecord {
    /// When a clock was last known to be correct; `None` if it never was.
    pub trusted_at: Option<DateTime<Utc>>,
    /// The clock of the database server; `None` on SQLite.
    pub database: Option<DateTime<Utc>>,
}

#[derive(QueryableByName)]
struct Row {
    #[diesel(sql_type = Nullable<Timestamp>)]
    trusted_at: Option<Readable<NaiveDateTime>>,
    #[diesel(sql_type = Nullable<Timestamp>)]
    now: Option<Readable<NaiveDateTime>>,
}

impl Db {
    /// Reads the database's clock, and when a clock was last known to be correct.
    ///
    /// # Errors
    ///
    /// When the database fails.
    pub async fn clock_record(&self) -> Result<ClockRecord, DbError> {
        self.read(|connection| {
            let query = diesel::sql_query(connection.select(READ_ON_SQLITE, READ_ON_POSTGRES));
            let row: Row = on_backend!(connection, |backend| query.get_result(backend))?;
            let time = |column: Option<Readable<NaiveDateTime>>| {
                column.and_then(Readable::ok).map(|time| time.and_utc())
            };
            Ok(ClockRecord {
                trusted_at: time(row.trusted_at),
                database: time(row.now),
            })
        })
        .await
    }

    /// Records that the clock was correct at a time.
    ///
    /// # Errors
    ///
    /// When the database fails.
    pub async fn record_trusted_clock(&self, trusted_at: DateTime<Utc>) -> Result<(), DbError> {
        let trusted_at = trusted_clock::trusted_at.eq(trusted_at.naive_utc());
        self.write(move |connection| {
            let updated = diesel::update(trusted_clock::table)
                .set(trusted_at)
                .execute(connection)?;
            if updated == 0 {
                diesel::insert_into(trusted_clock::table)
                    .values(trusted_at)
                    .execute(connection)?;
            }
            Ok(())
        })
        .await
    }
}
