//! A row of another service, as it is there.

use diesel::{
    QueryableByName,
    sql_types::{BigInt, Binary, Bool, Nullable},
};

use super::columns::{Column, Shape, SourceIds};
use crate::db::connection::AnyConnection;

/// The longest value that is loaded, in bytes, so that memory does not follow
/// what somebody wrote there: several times what an address (254) or a hash in
/// any of the formats (under 300) can have.
const MAX_BYTES: usize = 1_024;

/// A row, as it is there.
pub struct SourceRow {
    /// The id; `None` when it cannot be one.
    pub id: Option<SourceId>,
    /// What should be an address.
    pub email: Field,
    /// What should be a stored hash, as text or as bytes.
    pub hashed_password: Field,
}

/// What a source names a user by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SourceId {
    /// A whole number of 64 bits.
    Number(i64),
    /// A UUID or another text; bytes in hexadecimal.
    Text(String),
}

/// What stands in a column.
pub enum Field {
    /// Nothing (NULL).
    Absent,
    /// A text, or bytes that are one.
    Text(String),
    /// Bytes that are no text in UTF-8.
    Other,
    /// Over 1,024 bytes, which were not read.
    TooLong,
}

/// What a database answers with.
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

/// Asks for each [`Row`] in the order of the ids.
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
        // Bytes, since not every text in SQLite is UTF-8.
        AnyConnection::Sqlite(_) => (
            |column| {
                let name = &column.quoted;
                [name.clone(), format!("CAST({name} AS BLOB)")]
            },
            format!("CASE typeof({0}) WHEN 'integer' THEN {0} END", id.quoted),
        ),
        AnyConnection::Postgres(_) => (
            |column| {
                let name = &column.quoted;
                if column.is_bytea {
                    [name.clone(), name.clone()]
                } else {
                    // Without the blanks that fill up a CHAR(n).
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

/// Both databases know the length without reading the value.
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
            email: Field::new(row.email, row.email_is_long),
            hashed_password: Field::new(row.hashed_password, row.hashed_password_is_long),
        }
    }
}

impl Field {
    fn new(bytes: Option<Vec<u8>>, is_long: Option<bool>) -> Self {
        match bytes.map(String::from_utf8) {
            None if is_long == Some(true) => Self::TooLong,
            None => Self::Absent,
            Some(Ok(text)) => Self::Text(text),
            Some(Err(_)) => Self::Other,
        }
    }
}
