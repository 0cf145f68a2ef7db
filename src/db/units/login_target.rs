//! Finding the stored hash to compare a password with at a login.

use diesel::{
    ExpressionMethods as _, NullableExpressionMethods as _, OptionalExtension as _, QueryDsl as _,
    RunQueryDsl as _, SelectableHelper as _, define_sql_function,
    result::QueryResult,
    sql_types::{BigInt, Nullable},
};

use crate::{
    db::{Db, DbError, connection::AnyConnection, decoys::user_in, schema::users, users::UserRow},
    domain::{DecoySlot, Email, HashedPassword, User},
};

define_sql_function! {
    /// The first value, or the second one if the first is NULL.
    fn coalesce(first: Nullable<BigInt>, second: Nullable<BigInt>) -> Nullable<BigInt>;
}

/// The user or the decoy whose stored hash a password is compared with at a login.
#[derive(Clone, Debug)]
pub enum LoginTarget {
    /// The user with the e-mail.
    User(User),
    /// For an unknown e-mail, the stored hash of the user in its slot; `None` where the slot
    /// has no usable one.
    Decoy(Option<HashedPassword>),
}

impl Db {
    /// Finds the user with an e-mail, or else the decoy in the e-mail's slot. The queries,
    /// the rows read and the conversions are the same in both cases, so that they take the
    /// same time.
    ///
    /// # Errors
    ///
    /// When the database fails, or when the user's own row is damaged. A damaged row of the
    /// slot's user is not an error.
    pub async fn find_login_target(
        &self,
        email: Email,
        slot: DecoySlot,
    ) -> Result<LoginTarget, DbError> {
        self.read(move |connection| {
            let decoy_id = user_in(connection, slot)?;
            let candidates = diesel::alias!(users as candidates);
            let known = candidates
                .filter(candidates.field(users::email).eq(email.as_str()))
                .select(candidates.field(users::id))
                .single_value();
            let row: QueryResult<Option<UserRow>> = users::table
                .filter(users::id.nullable().eq(coalesce(known, decoy_id)))
                .select(UserRow::as_select())
                .first(connection)
                .optional();
            match row.map_err(DbError::from) {
                Ok(Some(row)) => {
                    let is_known = row.has_email(&email);
                    let hashed_password = row.hashed_password();
                    match User::try_from(row) {
                        Ok(user) if is_known => Ok(LoginTarget::User(user)),
                        Err(damaged) if is_known => Err(damaged),
                        _ => Ok(LoginTarget::Decoy(Some(hashed_password))),
                    }
                }
                Ok(None) => Ok(LoginTarget::Decoy(None)),
                Err(DbError::Fault(_)) if !is_known(connection, &email)? => {
                    Ok(LoginTarget::Decoy(None))
                }
                Err(error) => Err(error),
            }
        })
        .await
    }
}

fn is_known(connection: &mut AnyConnection, email: &Email) -> Result<bool, DbError> {
    let id: Option<i64> = users::table
        .filter(users::email.eq(email.as_str()))
        .select(users::id)
        .first(connection)
        .optional()?;
    Ok(id.is_some())
}
