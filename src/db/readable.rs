//! Columns whose stored value may be damaged.

use diesel::{
    backend::Backend,
    deserialize::{FromSql, FromSqlRow, Result},
};

/// A column's value, or `None` where what is stored there is none of its type: text
/// that is not UTF-8, a date that is no date or beyond the range that can be
/// represented. A row with such a column is loaded like any other, so that it is in the
/// way of no other row.
#[derive(Clone, Debug, FromSqlRow)]
pub(super) struct Readable<T>(Option<T>);

impl<T> Readable<T> {
    /// The value, where it can be read.
    pub(super) fn ok(self) -> Option<T> {
        self.0
    }

    /// The same, borrowed.
    pub(super) fn get(&self) -> Option<&T> {
        self.0.as_ref()
    }
}

impl<T, ST, DB> FromSql<ST, DB> for Readable<T>
where
    DB: Backend,
    T: FromSql<ST, DB>,
{
    fn from_sql(value: DB::RawValue<'_>) -> Result<Self> {
        Ok(Self(T::from_sql(value).ok()))
    }
}
