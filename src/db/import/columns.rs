//! Whether a source's table has what an import needs.

use diesel::{QueryableByName, RunQueryDsl as _, sql_types::Text};

use super::{
    super::{connection::AnyConnection, error::on_one_line},
    error::SourceProblem,
};

#[derive(QueryableByName)]
struct Column {
    #[diesel(sql_type = Text)]
    name: String,
    /// The type; empty on SQLite, where each value has its own.
    #[diesel(sql_type = Text)]
    kind: String,
}

const INTEGERS: &[&str] = &["smallint", "integer", "bigint"];
const TEXTS: &[&str] = &["text", "character varying", "character", "citext"];

/// The columns that are read, the types that they may have on PostgreSQL, and
/// how to say that.
const NEEDED: [(&str, &[&[&str]], &str); 3] = [
    ("id", &[INTEGERS], "a whole number"),
    ("email", &[TEXTS], "a text"),
    ("hashed_password", &[TEXTS, &["bytea"]], "a text or bytea"),
];

const ON_SQLITE: &str = "SELECT lower(name) AS name, '' AS kind FROM pragma_table_xinfo('users')";

const ON_POSTGRES: &str = "SELECT attname::text AS name, format_type(atttypid, NULL) AS kind
     FROM pg_attribute
     WHERE attrelid = to_regclass('users') AND attnum > 0 AND NOT attisdropped";

/// Checks the table `users`; returns whether its hashes are `bytea`.
pub(super) fn check(connection: &mut AnyConnection) -> Result<bool, SourceProblem> {
    let columns: Vec<Column> = match connection {
        AnyConnection::Sqlite(sqlite) => diesel::sql_query(ON_SQLITE).load(sqlite),
        AnyConnection::Postgres(postgres) => diesel::sql_query(ON_POSTGRES).load(postgres),
    }?;
    if columns.is_empty() {
        return Err(SourceProblem::NoTable);
    }
    let mut is_bytea = false;
    for (name, kinds, needed) in NEEDED {
        let column = columns
            .iter()
            .find(|column| column.name == name)
            .ok_or(SourceProblem::NoColumn(name))?;
        // An extension's type is named with its schema.
        let kind = column.kind.rsplit('.').next().unwrap_or_default();
        if !kind.is_empty() && !kinds.iter().any(|kinds| kinds.contains(&kind)) {
            return Err(SourceProblem::ColumnType {
                column: name,
                found: on_one_line(&column.kind),
                needed,
            });
        }
        is_bytea = kind == "bytea";
    }
    Ok(is_bytea)
}
