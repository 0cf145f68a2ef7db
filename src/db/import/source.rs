//! The table `users` of another service.

use std::{fs, os::unix::fs::MetadataExt as _};

use diesel::{
    PgConnection, QueryableByName, RunQueryDsl as _,
    connection::DefaultLoadingMode,
    pg::PgRowByRowLoadingMode,
    result::{Error as DieselError, QueryResult},
    sql_types::{BigInt, Binary, Bool, Nullable, Text},
};

use super::{
    super::{
        connection::{AnyConnection, connect_postgres},
        url::DatabaseUrl,
    },
    columns,
    error::{SourceError, SourceProblem},
    reader::Reader,
};

/// Another service's database, of which one state is read, in the order of the
/// ids. It is not written to, and while it is open nobody else should.
pub struct Source {
    url: DatabaseUrl,
    reader: Reader,
    rows: u64,
    query: String,
}

/// A row, as it is there.
pub struct SourceRow {
    /// The id; `None` when it is no whole number of 64 bits.
    pub id: Option<i64>,
    /// What should be an address.
    pub email: Field,
    /// What should be a stored hash, as text or as bytes.
    pub hashed_password: Field,
}

/// What stands in a column.
pub enum Field {
    /// Nothing (NULL).
    Absent,
    /// A text.
    Text(String),
    /// Something that is no text in UTF-8.
    Other,
}

impl Source {
    /// Opens a database and checks that it has what an import needs. It blocks,
    /// for two seconds at most where another holds a lock.
    ///
    /// # Errors
    ///
    /// When it is not there, is no database, is locked, or lacks the table
    /// `users` or one of the columns `id`, `email` and `hashed_password`.
    pub fn open(url: &DatabaseUrl) -> Result<Self, SourceError> {
        Self::try_open(url).map_err(|problem| SourceError {
            url: url.clone(),
            problem,
        })
    }

    fn try_open(url: &DatabaseUrl) -> Result<Self, SourceProblem> {
        let mut reader = Reader::open(url)
            .map_err(|error| SourceProblem::refused(&error))?
            .ok_or(SourceProblem::Missing)?;
        let connection = &mut reader.connection;
        if let AnyConnection::Sqlite(sqlite) = connection {
            let encoding: Answer =
                diesel::sql_query("SELECT encoding AS answer FROM pragma_encoding")
                    .get_result(sqlite)?;
            if encoding.answer != "UTF-8" {
                return Err(SourceProblem::Encoding);
            }
        }
        let is_bytea = columns::check(connection)?;
        let query = match connection {
            // Bytes, since not every text in SQLite is UTF-8.
            AnyConnection::Sqlite(_) => "SELECT CASE typeof(id) WHEN 'integer' THEN id END AS id,
                     typeof(email) = 'text' AS email_is_text,
                     CAST(email AS BLOB) AS email,
                     CAST(hashed_password AS BLOB) AS hashed_password
                 FROM users ORDER BY users.id"
                .to_owned(),
            AnyConnection::Postgres(_) => format!(
                "SELECT id::bigint AS id, true AS email_is_text,
                     textsend(email::text) AS email,
                     {} AS hashed_password
                 FROM users ORDER BY users.id",
                if is_bytea {
                    "hashed_password"
                } else {
                    "textsend(hashed_password::text)"
                }
            ),
        };
        let rows = count(connection)?;
        Ok(Self {
            url: url.clone(),
            reader,
            rows,
            query,
        })
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
    pub fn differs_from(&mut self, other: &DatabaseUrl) -> Result<(), SourceError> {
        let is_same = match (&mut self.reader.connection, other) {
            (AnyConnection::Sqlite(_), DatabaseUrl::Sqlite(other)) => {
                let DatabaseUrl::Sqlite(own) = &self.url else {
                    return Ok(());
                };
                let file = |path| fs::metadata(path).map(|file| (file.dev(), file.ino()));
                matches!((file(own), file(other)), (Ok(own), Ok(other)) if own == other)
            }
            // One that does not answer is no better when it is opened.
            (AnyConnection::Postgres(own), DatabaseUrl::Postgres(other)) => connect_postgres(other)
                .is_ok_and(|mut other| {
                    matches!(
                        (table(own), table(&mut other)),
                        (Ok(own), Ok(other)) if own == other
                    )
                }),
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
struct Row {
    #[diesel(sql_type = Nullable<BigInt>)]
    id: Option<i64>,
    #[diesel(sql_type = Bool)]
    email_is_text: bool,
    #[diesel(sql_type = Nullable<Binary>)]
    email: Option<Vec<u8>>,
    #[diesel(sql_type = Nullable<Binary>)]
    hashed_password: Option<Vec<u8>>,
}

impl From<Row> for SourceRow {
    fn from(row: Row) -> Self {
        Self {
            id: row.id,
            email: match Field::from(row.email) {
                Field::Text(_) if !row.email_is_text => Field::Other,
                field => field,
            },
            hashed_password: row.hashed_password.into(),
        }
    }
}

impl From<Option<Vec<u8>>> for Field {
    fn from(bytes: Option<Vec<u8>>) -> Self {
        match bytes.map(String::from_utf8) {
            None => Self::Absent,
            Some(Ok(text)) => Self::Text(text),
            Some(Err(_)) => Self::Other,
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

fn count(connection: &mut AnyConnection) -> QueryResult<u64> {
    let query = diesel::sql_query("SELECT count(*) AS count FROM users");
    let row: Count = match connection {
        AnyConnection::Sqlite(sqlite) => query.get_result(sqlite),
        AnyConnection::Postgres(postgres) => query.get_result(postgres),
    }?;
    Ok(row.count.unsigned_abs())
}

/// Which table `users` is, among those of all servers.
fn table(connection: &mut PgConnection) -> QueryResult<String> {
    let row: Answer = diesel::sql_query(
        "SELECT concat_ws('/', system_identifier, current_database(), to_regclass('users')::oid)
             AS answer
         FROM pg_control_system()",
    )
    .get_result(connection)?;
    Ok(row.answer)
}
