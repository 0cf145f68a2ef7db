//! The source of an import: the table of another service's users.

use std::{fs, os::unix::fs::MetadataExt as _, path::Path};

use diesel::{
    QueryableByName, RunQueryDsl as _,
    connection::DefaultLoadingMode,
    result::{Error as DieselError, QueryResult},
    sql_types::{BigInt, Text},
};

use super::{
    columns::{self, Origin, SourceIds, SourceTable},
    error::{SourceError, SourceProblem},
    reader::Reader,
    row::{self, Row, SourceRow},
};
use crate::db::{
    connection::{self, AnyConnection, on_backend},
    url::DatabaseUrl,
};

/// Another service's database, of which one state is read, in the order of the ids. It is not
/// written to, and no other process should write to it while it is open.
pub struct SourceDatabase {
    url: DatabaseUrl,
    reader: Reader,
    rows: u64,
    query: String,
    table: String,
    ids: SourceIds,
    origin: Option<Origin>,
}

impl SourceDatabase {
    /// Opens a database and checks that it has the table and columns that an import needs.
    /// Blocks the thread, and waits at most two seconds for a lock.
    ///
    /// # Errors
    ///
    /// When it does not exist, is not a database, is locked, or lacks the table or a column.
    pub fn open(url: &DatabaseUrl, table: &SourceTable) -> Result<Self, SourceError> {
        Self::try_open(url, table).map_err(|problem| SourceError {
            url: url.clone(),
            problem,
        })
    }

    fn try_open(url: &DatabaseUrl, table: &SourceTable) -> Result<Self, SourceProblem> {
        let mut reader = Reader::open(url)
            .map_err(|error| SourceProblem::refused(&error))?
            .ok_or_else(|| missing(url))?;
        let connection = &mut reader.connection;
        if let AnyConnection::Sqlite(sqlite) = connection {
            let encoding: TextRow =
                diesel::sql_query("SELECT encoding AS text FROM pragma_encoding")
                    .get_result(sqlite)?;
            if encoding.text != "UTF-8" {
                return Err(SourceProblem::Encoding);
            }
        }
        let shape = columns::check(connection, table)?;
        let query = row::query(connection, &shape);
        let rows = count(connection, &shape.table)?;
        Ok(Self {
            url: url.clone(),
            reader,
            rows,
            query,
            table: shape.table,
            ids: shape.ids,
            origin: shape.origin,
        })
    }

    /// The kind of its ids.
    pub fn ids(&self) -> SourceIds {
        self.ids
    }

    /// The service that created the table, if its columns show that.
    pub fn origin(&self) -> Option<Origin> {
        self.origin
    }

    /// The number of rows.
    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// Checks that a URL names another database.
    ///
    /// # Errors
    ///
    /// When it names this database.
    pub fn differs_from(&self, other: &DatabaseUrl) -> Result<(), SourceError> {
        let is_same = match (&self.url, other) {
            (DatabaseUrl::Sqlite(own), DatabaseUrl::Sqlite(other)) => {
                let file = |path| fs::metadata(path).map(|file| (file.dev(), file.ino()));
                matches!((file(own), file(other)), (Ok(own), Ok(other)) if own == other)
            }
            #[cfg(feature = "postgres")]
            (DatabaseUrl::Postgres(own), DatabaseUrl::Postgres(other)) => {
                // The table of the target is always called users.
                let tables = (table(own, &self.table), table(other, "users"));
                matches!(tables, (Some(own), Some(other)) if own == other)
            }
            _ => false,
        };
        if is_same {
            return Err(self.failed(SourceProblem::Same));
        }
        Ok(())
    }

    /// Passes each row to `take`, and stops at its first error.
    ///
    /// # Errors
    ///
    /// The error of `take`, or when the source cannot be read to its end, or was written to
    /// in the meantime.
    pub fn read<E: From<SourceError>>(
        &mut self,
        mut take: impl FnMut(SourceRow) -> Result<(), E>,
    ) -> Result<(), E> {
        let url = &self.url;
        let failed = |error: DieselError| SourceError {
            url: url.clone(),
            problem: error.into(),
        };
        let mut pass_on = |row: QueryResult<Row>| take(row.map_err(failed)?.into());
        let query = diesel::sql_query(&self.query);
        match &mut self.reader.connection {
            AnyConnection::Sqlite(sqlite) => query
                .load_iter::<Row, DefaultLoadingMode>(sqlite)
                .map_err(failed)?
                .try_for_each(&mut pass_on)?,
            #[cfg(feature = "postgres")]
            AnyConnection::Postgres(postgres) => query
                .load_iter::<Row, diesel::pg::PgRowByRowLoadingMode>(postgres)
                .map_err(failed)?
                .try_for_each(&mut pass_on)?,
        }
        if !self.reader.is_consistent() {
            return Err(self.failed(SourceProblem::Changed).into());
        }
        Ok(())
    }

    fn failed(&self, problem: SourceProblem) -> SourceError {
        SourceError {
            url: self.url.clone(),
            problem,
        }
    }
}

#[derive(QueryableByName)]
struct TextRow {
    #[diesel(sql_type = Text)]
    text: String,
}

#[derive(QueryableByName)]
struct Count {
    #[diesel(sql_type = BigInt)]
    count: i64,
}

fn count(connection: &mut AnyConnection, table: &str) -> QueryResult<u64> {
    let query = diesel::sql_query(format!("SELECT count(*) AS count FROM {table}"));
    let row: Count = on_backend!(connection, |backend| query.get_result(backend))?;
    Ok(row.count.unsigned_abs())
}

/// An identifier of a table, unique among all servers; `None` where the server does not reply, or
/// refuses the query. It runs on a connection of its own, since a refusal ends the
/// transaction in which it occurs.
#[cfg(feature = "postgres")]
fn table(uri: &str, name: &str) -> Option<String> {
    let row: TextRow = diesel::sql_query(
        "SELECT concat_ws('/', system_identifier, current_database(), to_regclass($1)::oid)
             AS text
         FROM pg_control_system()",
    )
    .bind::<Text, _>(name)
    .get_result(&mut connection::connect_postgres(uri).ok()?)
    .ok()?;
    Some(row.text)
}

/// The problem with a missing file; the path may have been written in SQLAlchemy's form.
fn missing(url: &DatabaseUrl) -> SourceProblem {
    let DatabaseUrl::Sqlite(path) = url else {
        return SourceProblem::Missing;
    };
    match path.strip_prefix('/') {
        Some(relative) if Path::new(relative).is_file() => {
            SourceProblem::MissingAbsolute(relative.to_owned())
        }
        _ => SourceProblem::Missing,
    }
}
