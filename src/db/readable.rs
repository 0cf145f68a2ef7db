//! Columns whose stored value may be damaged.

use std::fmt::Debug;

use diesel::{
    backend::Backend,
    deserialize::{self, FromSql, FromSqlRow},
    expression::AsExpression,
    serialize::{self, Output, ToSql},
    sql_types::{Text, Timestamp},
};

/// A column's value, or `None` where the stored value is not of the column's type: invalid
/// UTF-8, a malformed date, or a date out of range. A row with such a column loads
/// like any other, so that it does not keep other rows of the same query from loading.
#[derive(Clone, Debug, AsExpression, FromSqlRow)]
#[diesel(sql_type = Text)]
#[diesel(sql_type = Timestamp)]
pub(super) struct Readable<T>(Option<T>);

impl<T> Readable<T> {
    /// A value to write.
    pub(super) fn new(value: T) -> Self {
        Self(Some(value))
    }

    /// The value, unless it is damaged.
    pub(super) fn ok(self) -> Option<T> {
        self.0
    }

    /// The value by reference, unless it is damaged.
    pub(super) fn get(&self) -> Option<&T> {
        self.0.as_ref()
    }

    fn to_write(&self) -> Result<&T, &'static str> {
        self.get().ok_or("a damaged value cannot be written")
    }
}

impl<T, ST, DB> FromSql<ST, DB> for Readable<T>
where
    DB: Backend,
    T: FromSql<ST, DB>,
{
    fn from_sql(value: DB::RawValue<'_>) -> deserialize::Result<Self> {
        Ok(Self(T::from_sql(value).ok()))
    }
}

impl<T, DB> ToSql<Text, DB> for Readable<T>
where
    DB: Backend,
    T: Debug + ToSql<Text, DB>,
{
    fn to_sql<'b>(&'b self, out: &mut Output<'b, '_, DB>) -> serialize::Result {
        self.to_write()?.to_sql(out)
    }
}

impl<T, DB> ToSql<Timestamp, DB> for Readable<T>
where
    DB: Backend,
    T: Debug + ToSql<Timestamp, DB>,
{
    fn to_sql<'b>(&'b self, out: &mut Output<'b, '_, DB>) -> serialize::Result {
        self.to_write()?.to_sql(out)
    }
}
