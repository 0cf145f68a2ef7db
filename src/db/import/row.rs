//! A row of another service, as it is there.

use diesel::{
    QueryableByName,
    sql_types::{BigInt, Binary, Bool, Nullable},
};

use super::super::connection::AnyConnection;

/// The longest value that is loaded, in bytes, so that memory does not follow
/// what somebody wrote there: several times what an address (254) or a hash in
/// any of the formats (under 300) can have.
const MAX_BYTES: usize = 1_024;

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
    email: Option<Vec<u8>>,
    #[diesel(sql_type = Nullable<Bool>)]
    email_is_long: Option<bool>,
    #[diesel(sql_type = Nullable<Binary>)]
    hashed_password: Option<Vec<u8>>,
    #[diesel(sql_type = Nullable<Bool>)]
    hashed_password_is_long: Option<bool>,
}

/// Asks for each [`Row`] in the order of the ids.
pub(super) fn query(connection: &AnyConnection, is_bytea: bool) -> String {
    // Bytes, since not every text in SQLite is UTF-8.
    let (id, [email, hashed_password]) = match connection {
        AnyConnection::Sqlite(_) => (
            "CASE typeof(id) WHEN 'integer' THEN id END",
            ["email", "hashed_password"]
                .map(|name| column(name, name, &format!("CAST({name} AS BLOB)"))),
        ),
        AnyConnection::Postgres(_) => {
            // Without the blanks that fill up a CHAR(n).
            let text = |name| {
                column(
                    name,
                    &format!("{name}::text"),
                    &format!("textsend({name}::text)"),
                )
            };
            let hashed_password = if is_bytea {
                column("hashed_password", "hashed_password", "hashed_password")
            } else {
                text("hashed_password")
            };
            ("id::bigint", [text("email"), hashed_password])
        }
    };
    format!("SELECT {id} AS id, {email}, {hashed_password} FROM users ORDER BY users.id")
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
            id: row.id,
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
