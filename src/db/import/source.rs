//! The table of another service's users.

use std::{fs, os::unix::fs::MetadataExt as _, path::Path};

use diesel::{
    QueryableByName, RunQueryDsl as _,
    connection::DefaultLoadingMode,
    pg::PgRowByRowLoadingMode,
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
    connection::{AnyConnection, connect_postgres},
    url::DatabaseUrl,
};

/// Another service's database, of which one state is read, in the order of the
/// ids. It is not written to, and while it is open nobody else should.
pub struct Source {
    url: DatabaseUrl,
    reader: Reader,
    rows: u64,
    query: String,
    table: String,
    ids: SourceIds,
    origin: Option<Origin>,
}

impl Source {
    /// Opens a database and checks that it has what an import needs. It blocks,
    /// for two seconds at most where another holds a lock.
    ///
    /// # Errors
    ///
    /// When it is not there, is no database, is locked, or lacks the table or one of the
    /// columns.
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
            let encoding: Answer =
                diesel::sql_query("SELECT encoding AS answer FROM pragma_encoding")
                    .get_result(sqlite)?;
            if encoding.answer != "UTF-8" {
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

    /// What kind of ids there are.
    pub fn ids(&self) -> SourceIds {
        self.ids
    }

    /// Which service wrote the table, where that shows.
    pub fn origin(&self) -> Option<Origin> {
        self.origin
    }

    /// How many rows there are.
    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// Checks that another URL names another database.
    ///
    /// # Errors
    ///
    /// When it names this one.
    pub fn differs_from(&self, other: &DatabaseUrl) -> Result<(), SourceError> {
        let is_same = match (&self.url, other) {
            (DatabaseUrl::Sqlite(own), DatabaseUrl::Sqlite(other)) => {
                let file = |path| fs::metadata(path).map(|file| (file.dev(), file.ino()));
                matches!((file(own), file(other)), (Ok(own), Ok(other)) if own == other)
            }
            (DatabaseUrl::Postgres(own), DatabaseUrl::Postgres(other)) => {
                // Ours is always called users.
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

    /// Hands out each row, and stops at the first error of the one who takes
    /// them.
    ///
    /// # Errors
    ///
    /// That error, or when the source cannot be read to its end, or was written
    /// to meanwhile.
    pub fn read<E: From<SourceError>>(
        &mut self,
        mut take: impl FnMut(SourceRow) -> Result<(), E>,
    ) -> Result<(), E> {
        let url = &self.url;
        let failed = |error: DieselError| SourceError {
            url: url.clone(),
            problem: error.into(),
        };
        let mut hand_out = |row: QueryResult<Row>| take(row.map_err(failed)?.into());
        let query = diesel::sql_query(&self.query);
        match &mut self.reader.connection {
            AnyConnection::Sqlite(sqlite) => query
                .load_iter::<Row, DefaultLoadingMode>(sqlite)
                .map_err(failed)?
                .try_for_each(&mut hand_out)?,
            AnyConnection::Postgres(postgres) => query
                .load_iter::<Row, PgRowByRowLoadingMode>(postgres)
                .map_err(failed)?
                .try_for_each(&mut hand_out)?,
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
struct Answer {
    #[diesel(sql_type = Text)]
    answer: String,
}

#[derive(QueryableByName)]
struct Count {
    #[diesel(sql_type = BigInt)]
    count: i64,
}

fn count(connection: &mut AnyConnection, table: &str) -> QueryResult<u64> {
    let query = diesel::sql_query(format!("SELECT count(*) AS count FROM {table}"));
    let row: Count = match connection {
        AnyConnection::Sqlite(sqlite) => query.get_result(sqlite),
        AnyConnection::Postgres(postgres) => query.get_result(postgres),
    }?;
    Ok(row.count.unsigned_abs())
}

/// Which table a name is of, among those of all servers; `None` where a server does
/// not answer, or not that. It is asked over a connection of its own: a refusal
/// ends the transaction that it happens in.
fn table(uri: &str, name: &str) -> Option<String> {
    let row: Answer = diesel::sql_query(
        "SELECT concat_ws('/', system_identifier, current_database(), to_regclass($1)::oid)
             AS answer
         FROM pg_control_system()",
    )
    .bind::<Text, _>(name)
    .get_result(&mut connect_postgres(uri).ok()?)
    .ok()?;
    Some(row.answer)
}

/// Whether a path was perhaps written as SQLAlchemy has it.
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
