//! The table of a source and its columns, and the check that an import can read them.

use std::str::FromStr;

use diesel::{QueryableByName, RunQueryDsl as _, sql_types::Text};
use thiserror::Error;

use super::error::SourceProblem;
use crate::db::{connection::AnyConnection, error::on_one_line};

/// The names of a table and of the columns to read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceTable {
    /// The name of the table.
    pub name: String,
    /// The names of its columns.
    pub columns: ColumnNames,
}

impl Default for SourceTable {
    fn default() -> Self {
        Self {
            name: "users".to_owned(),
            columns: ColumnNames::default(),
        }
    }
}

/// The names of the columns to read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ColumnNames {
    /// The column of the ids.
    pub id: String,
    /// The column of the e-mails.
    pub email: String,
    /// The column of the stored hashes.
    pub hashed_password: String,
}

/// The text is not a list of column names.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error(
    "write the columns with other names, such as email=mail,hashed_password=password,id=uuid; \
     the default names are id, email and hashed_password"
)]
pub struct ColumnNamesError;

impl Default for ColumnNames {
    fn default() -> Self {
        Self {
            id: "id".to_owned(),
            email: "email".to_owned(),
            hashed_password: "hashed_password".to_owned(),
        }
    }
}

impl FromStr for ColumnNames {
    type Err = ColumnNamesError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut names = Self::default();
        let mut named = Vec::new();
        for item in text.split(',') {
            let (column, name) = item.split_once('=').ok_or(ColumnNamesError)?;
            let (column, name) = (column.trim(), name.trim());
            if name.is_empty() || name.contains('\0') || named.contains(&column) {
                return Err(ColumnNamesError);
            }
            named.push(column);
            *match column {
                "id" => &mut names.id,
                "email" => &mut names.email,
                "hashed_password" => &mut names.hashed_password,
                _ => return Err(ColumnNamesError),
            } = name.to_owned();
        }
        Ok(names)
    }
}

/// A service recognised by the columns that it creates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Flask-Security, whose users have an `fs_uniquifier` since its version 4.
    FlaskSecurity,
    /// Devise, which keeps `encrypted_password` and `reset_password_token`.
    Devise,
}

/// The kind of ids of a source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SourceIds {
    /// Integers, which are kept.
    Numbers,
    /// UUIDs or other texts, which are replaced by new numbers.
    Texts,
}

/// A table that an import can read.
pub(super) struct Shape {
    /// Quoted for use in a statement, like the columns.
    pub(super) table: String,
    pub(super) id: Column,
    pub(super) email: Column,
    pub(super) hashed_password: Column,
    pub(super) ids: SourceIds,
    pub(super) origin: Option<Origin>,
}

pub(super) struct Column {
    pub(super) quoted: String,
    /// On PostgreSQL. In SQLite each value has a type of its own.
    pub(super) is_bytea: bool,
}

#[derive(QueryableByName)]
struct Found {
    #[diesel(sql_type = Text)]
    name: String,
    /// The type; empty on SQLite, where each value has a type of its own.
    #[diesel(sql_type = Text)]
    kind: String,
}

const INTEGERS: &[&str] = &["smallint", "integer", "bigint"];
const TEXTS: &[&str] = &["text", "character varying", "character", "citext"];

const ON_SQLITE: &str = "SELECT name, '' AS kind FROM pragma_table_xinfo($1)";

const ON_POSTGRES: &str = "SELECT attname::text AS name, format_type(atttypid, NULL) AS kind
     FROM pg_attribute
     WHERE attrelid = to_regclass($1) AND attnum > 0 AND NOT attisdropped";

/// Checks that an import can read a table.
pub(super) fn check(
    connection: &mut AnyConnection,
    table: &SourceTable,
) -> Result<Shape, SourceProblem> {
    let quoted_table = quoted(&table.name);
    let found: Vec<Found> = match connection {
        AnyConnection::Sqlite(sqlite) => diesel::sql_query(ON_SQLITE)
            .bind::<Text, _>(&table.name)
            .load(sqlite),
        #[cfg(feature = "postgres")]
        AnyConnection::Postgres(postgres) => diesel::sql_query(ON_POSTGRES)
            .bind::<Text, _>(&quoted_table)
            .load(postgres),
    }?;
    if found.is_empty() {
        return Err(SourceProblem::NoTable(on_one_line(&table.name)));
    }
    let names = &table.columns;
    let find = |name: &str, kinds: &[&[&str]], needed: &'static str| {
        let same = found.iter().find(|column| column.name == name);
        let column = same.or_else(|| {
            let mut alike = found
                .iter()
                .filter(|column| column.name.eq_ignore_ascii_case(name));
            alike.next().filter(|_| alike.next().is_none())
        });
        let column = column.ok_or_else(|| SourceProblem::NoColumn {
            table: on_one_line(&table.name),
            column: on_one_line(name),
        })?;
        // The name of an extension's type includes its schema.
        let kind = column.kind.rsplit('.').next().unwrap_or_default();
        if !kind.is_empty() && !kinds.iter().any(|kinds| kinds.contains(&kind)) {
            return Err(SourceProblem::ColumnType {
                column: on_one_line(name),
                found: on_one_line(&column.kind),
                needed,
            });
        }
        let is_integer = INTEGERS.contains(&kind);
        let column = Column {
            quoted: quoted(&column.name),
            is_bytea: kind == "bytea",
        };
        Ok((column, is_integer))
    };
    let kinds_of_ids = [INTEGERS, TEXTS, &["uuid", "bytea"]];
    let (id, is_integer) = find(&names.id, &kinds_of_ids, "a whole number, a UUID or a text")?;
    let (email, _) = find(&names.email, &[TEXTS], "a text")?;
    let hash_kinds = [TEXTS, &["bytea"]];
    let (hashed_password, _) = find(&names.hashed_password, &hash_kinds, "a text or bytea")?;
    let has = |name: &str| found.iter().any(|column| column.name == name);
    let origin = if has("fs_uniquifier") {
        Some(Origin::FlaskSecurity)
    } else if has("encrypted_password") && has("reset_password_token") {
        Some(Origin::Devise)
    } else {
        None
    };
    let has_numbers = match connection {
        AnyConnection::Sqlite(sqlite) => {
            let rows: Vec<Found> =
                diesel::sql_query(has_no_numbers(&quoted_table, &id.quoted)).load(sqlite)?;
            rows.is_empty()
        }
        #[cfg(feature = "postgres")]
        AnyConnection::Postgres(_) => is_integer,
    };
    Ok(Shape {
        table: quoted_table,
        id,
        email,
        hashed_password,
        ids: if has_numbers {
            SourceIds::Numbers
        } else {
            SourceIds::Texts
        },
        origin,
    })
}

/// A query for SQLite that returns a row if there are users and none of their ids is an integer.
fn has_no_numbers(table: &str, id: &str) -> String {
    format!(
        "SELECT '' AS name, '' AS kind
         WHERE EXISTS (SELECT 1 FROM {table})
           AND NOT EXISTS (SELECT 1 FROM {table} WHERE typeof({id}) = 'integer')"
    )
}

/// A quoted identifier, whatever characters it contains.
fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn column_names_are_parsed() {
        let names = |text: &str| text.parse::<ColumnNames>();
        let expected = ColumnNames {
            id: "uuid".to_owned(),
            email: "mail".to_owned(),
            hashed_password: "pwd".to_owned(),
        };
        for text in [
            "email=mail,hashed_password=pwd,id=uuid",
            " id = uuid , email = mail ,hashed_password= pwd ",
        ] {
            assert_eq!(names(text), Ok(expected.clone()), "{text}");
        }
        let other = names("email=E-Mail \"of\" user").unwrap();
        assert_eq!(other.email, "E-Mail \"of\" user");
        assert_eq!(
            (other.id.as_str(), other.hashed_password.as_str()),
            ("id", "hashed_password")
        );
        for text in [
            "",
            "mail",
            "email=",
            "email=a,",
            "email=a,email=b",
            "name=a",
            "email=a\0b",
        ] {
            assert_eq!(names(text), Err(ColumnNamesError), "{text:?}");
        }
        assert_eq!(quoted("a\"b"), "\"a\"\"b\"");
    }
}
