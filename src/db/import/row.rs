//! Rows of another service.

use diesel::{
    QueryableByName,
    sql_types::{BigInt, Binary, Bool, Nullable},
};

use super::columns::{Column, Shape, SourceIds};
use crate::db::connection::AnyConnection;

/// The longest loaded value in bytes, which bounds the use of memory. It is several times the
/// length of the longest address (254) and hash (under 300).
const MAX_BYTES: usize = 1_024;

/// A row, unchanged.
pub struct SourceRow {
    /// The id; `None` for NULL or a value of another kind.
    pub id: Option<SourceId>,
    /// The value of the column of addresses.
    pub email: SourceValue,
    /// The value of the column of stored hashes, from text or bytes.
    pub hashed_password: SourceValue,
}

/// The id of a user in a source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SourceId {
    /// An integer of 64 bits.
    Number(i64),
    /// A UUID or another text; bytes in hexadecimal.
    Text(String),
}

/// The value of a column.
pub enum SourceValue {
    /// NULL.
    Null,
    /// A text, or bytes that are UTF-8.
    Text(String),
    /// Bytes that are not UTF-8.
    NotUtf8,
    /// A value of over 1,024 bytes, which is not loaded.
    TooLong,
}

/// A row as the query returns it.
#[derive(QueryableByName)]
pub(super) struct Row {
    #[diesel(sql_type = Nullable<BigInt>)]
    id: Option<i64>,
    #[diesel(sql_type = Nullable<Binary>)]
    text_id: Option<Vec<u8>>,
    #[diesel(sql_type = Nullable<Binary>)]
    email: Option<Vec<u8>>,
    #[diesel(sql_type = Nullable<Bool>)]
    email_is_long: Option<bool>,
    #[diesel(sql_type = Nullable<Binary>)]
    hashed_password: Option<Vec<u8>>,
    #[diesel(sql_type = Nullable<Bool>)]
    hashed_password_is_long: Option<bool>,
}

/// The query for the rows, in the order of their ids.
pub(super) fn query(connection: &AnyConnection, shape: &Shape) -> String {
    let Shape {
        table,
        id,
        email,
        hashed_password,
        ids,
        ..
    } = shape;
    let (text, id_as_number): (fn(&Column) -> [String; 2], _) = match connection {
        // As bytes, since a text in SQLite may not be UTF-8.
        AnyConnection::Sqlite(_) => (
            |column| {
                let name = &column.quoted;
                [name.clone(), format!("CAST({name} AS BLOB)")]
            },
            format!("CASE typeof({0}) WHEN 'integer' THEN {0} END", id.quoted),
        ),
        #[cfg(feature = "postgres")]
        AnyConnection::Postgres(_) => (
            |column| {
                let name = &column.quoted;
                if column.is_bytea {
                    [name.clone(), name.clone()]
                } else {
                    // Without the padding of a CHAR(n).
                    [format!("{name}::text"), format!("textsend({name}::text)")]
                }
            },
            format!("{}::bigint", id.quoted),
        ),
    };
    let id = match (ids, connection) {
        (SourceIds::Numbers, _) => format!("{id_as_number} AS id, NULL AS text_id"),
        (SourceIds::Texts, AnyConnection::Sqlite(_)) => {
            let name = &id.quoted;
            format!(
                "NULL AS id, CASE WHEN octet_length({name}) <= {MAX_BYTES} THEN
                     CASE typeof({name}) WHEN 'blob' THEN CAST(lower(hex({name})) AS BLOB)
                     ELSE CAST({name} AS BLOB) END END AS text_id"
            )
        }
        #[cfg(feature = "postgres")]
        (SourceIds::Texts, AnyConnection::Postgres(_)) => {
            let name = &id.quoted;
            let text = match id.is_bytea {
                true => format!("encode({name}, 'hex')"),
                false => format!("{name}::text"),
            };
            format!(
                "NULL::bigint AS id, CASE WHEN octet_length({text}) <= {MAX_BYTES}
                     THEN textsend({text}) END AS text_id"
            )
        }
    };
    let [email, hashed_password] =
        [("email", email), ("hashed_password", hashed_password)].map(|(name, found)| {
            let [value, bytes] = text(found);
            column(name, &value, &bytes)
        });
    let order = &shape.id.quoted;
    format!("SELECT {id}, {email}, {hashed_password} FROM {table} ORDER BY {table}.{order}")
}

/// A column and whether it is too long. Both databases know the length without reading the
/// value.
fn column(name: &str, value: &str, bytes: &str) -> String {
    format!(
        "CASE WHEN octet_length({value}) <= {MAX_BYTES} THEN {bytes} END AS {name},
         octet_length({value}) > {MAX_BYTES} AS {name}_is_long"
    )
}

impl From<Row> for SourceRow {
    fn from(row: Row) -> Self {
        Self {
            id: row.id.map(SourceId::Number).or_else(|| {
                let text = String::from_utf8_lossy(row.text_id.as_deref()?);
                Some(SourceId::Text(text.into_owned()))
            }),
            email: SourceValue::new(row.email, row.email_is_long),
            hashed_password: SourceValue::new(row.hashed_password, row.hashed_password_is_long),
        }
    }
}

impl SourceValue {
    fn new(bytes: Option<Vec<u8>>, is_long: Option<bool>) -> Self {
        match bytes.map(String::from_utf8) {
            None if is_long == Some(true) => Self::TooLong,
            None => Self::Null,
            Some(Ok(text)) => Self::Text(text),
            Some(Err(_)) => Self::NotUtf8,
        }
    }
}
