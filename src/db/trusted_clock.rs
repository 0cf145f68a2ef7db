//! The table `trusted_clock`, and the database's own clock.

use chrono::{DateTime, NaiveDateTime, Utc};
use diesel::{
    ExpressionMethods as _, QueryableByName, RunQueryDsl as _,
    sql_types::{Nullable, Timestamp},
};

use super::{Db, DbError, connection::AnyConnection, readable::Readable, schema::trusted_clock};

const READ_ON_POSTGRES: &str = "
    SELECT (SELECT max(trusted_at) FROM trusted_clock) AS trusted_at,
           clock_timestamp() AT TIME ZONE 'UTC' AS now";

/// Its clock is this machine's.
const READ_ON_SQLITE: &str = "
    SELECT (SELECT max(trusted_at) FROM trusted_clock) AS trusted_at, NULL AS now";

/// What the database knows of the time.
#[derive(Clone, Copy, Debug)]
pub struct ClockRecord {
    /// When a clock was last known to be right; `None` where that is not known.
    pub trusted_at: Option<DateTime<Utc>>,
    /// What the clock of the database's machine says; `None` on SQLite, which has none
    /// of its own.
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
    /// Reads the database's clock, and when a clock was last known to be right.
    ///
    /// # Errors
    ///
    /// When the database cannot.
    pub async fn clock_record(&self) -> Result<ClockRecord, DbError> {
        self.read(|connection| {
            let row: Row = match connection {
                AnyConnection::Sqlite(sqlite) => {
                    diesel::sql_query(READ_ON_SQLITE).get_result(sqlite)?
                }
                AnyConnection::Postgres(postgres) => {
                    diesel::sql_query(READ_ON_POSTGRES).get_result(postgres)?
                }
            };
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

    /// Records that a clock was right at a time.
    ///
    /// # Errors
    ///
    /// When the database cannot.
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
