//! The table `users`.

use chrono::{DateTime, NaiveDateTime, Utc};
use diesel::{
    ExpressionMethods as _, Insertable, OptionalExtension as _, QueryDsl as _, Queryable,
    RunQueryDsl as _,
    result::{DatabaseErrorKind, Error as DieselError},
};
use thiserror::Error;

use super::{
    Db, DbError,
    schema::{sessions, users},
};
use crate::domain::{Email, HashedPassword, TokenDigest, User, UserId};

/// What to find a user by.
#[derive(Clone, Debug)]
pub enum UserBy {
    /// The id.
    Id(UserId),
    /// The canonical e-mail.
    Email(Email),
    /// A session of theirs, expired or not.
    Session(TokenDigest),
}

/// What to change of a user; `None` leaves a thing as it is.
#[derive(Clone, Debug, Default)]
pub struct UserChanges {
    /// A new stored hash.
    pub hashed_password: Option<HashedPassword>,
}

/// Why a user was not added.
#[derive(Debug, Error)]
pub enum AddUserError {
    /// Another user has the e-mail.
    #[error("the e-mail is taken")]
    EmailTaken,
    /// The database could not.
    #[error(transparent)]
    Db(#[from] DbError),
}

/// A row, in the order of the table's columns.
#[derive(Queryable)]
pub(super) struct UserRow {
    id: i64,
    email: String,
    hashed_password: String,
    created_at: NaiveDateTime,
}

#[derive(Insertable)]
#[diesel(table_name = users)]
struct NewUserRow {
    email: String,
    hashed_password: String,
    created_at: NaiveDateTime,
}

impl TryFrom<UserRow> for User {
    type Error = DbError;

    fn try_from(row: UserRow) -> Result<Self, DbError> {
        let email = Email::parse(&row.email)
            .ok()
            .filter(|email| email.as_str() == row.email)
            .ok_or_else(|| {
                DbError::Fault(format!("user {} has no canonical e-mail", row.id).into())
            })?;
        Ok(Self {
            id: UserId(row.id),
            email,
            hashed_password: HashedPassword::new(row.hashed_password),
            created_at: row.created_at.and_utc(),
        })
    }
}

impl Db {
    /// Adds a user. Of several that add one e-mail at once, one succeeds.
    ///
    /// # Errors
    ///
    /// When the e-mail is taken, or the database cannot.
    pub async fn add_user(
        &self,
        email: Email,
        hashed_password: HashedPassword,
        created_at: DateTime<Utc>,
    ) -> Result<User, AddUserError> {
        let row = NewUserRow {
            email: email.to_string(),
            hashed_password: hashed_password.expose().to_owned(),
            created_at: created_at.naive_utc(),
        };
        self.write(move |connection| {
            let added: UserRow = diesel::insert_into(users::table)
                .values(row)
                .returning(users::all_columns)
                .get_result(connection)
                .map_err(|error| match error {
                    DieselError::DatabaseError(DatabaseErrorKind::UniqueViolation, _) => {
                        AddUserError::EmailTaken
                    }
                    other => DbError::from(other).into(),
                })?;
            Ok(added.try_into()?)
        })
        .await
    }

    /// Finds the one user that a criterion names.
    ///
    /// # Errors
    ///
    /// When the database cannot. That there is none is no error.
    pub async fn find_user_by(&self, by: UserBy) -> Result<Option<User>, DbError> {
        self.read(move |connection| {
            let row: Option<UserRow> = match by {
                UserBy::Id(id) => users::table.find(id.0).first(connection),
                UserBy::Email(email) => users::table
                    .filter(users::email.eq(email.as_str()))
                    .first(connection),
                UserBy::Session(digest) => users::table
                    .inner_join(sessions::table)
                    .filter(sessions::digest.eq(digest.as_bytes()))
                    .select(users::all_columns)
                    .first(connection),
            }
            .optional()?;
            row.map(User::try_from).transpose()
        })
        .await
    }

    /// Changes a user and returns it as it is then; `None` when there is none.
    ///
    /// # Errors
    ///
    /// When the database cannot.
    pub async fn update_user(
        &self,
        id: UserId,
        changes: UserChanges,
    ) -> Result<Option<User>, DbError> {
        let Some(hashed_password) = changes.hashed_password else {
            return self.find_user_by(UserBy::Id(id)).await;
        };
        self.write(move |connection| {
            let row: Option<UserRow> = diesel::update(users::table.find(id.0))
                .set(users::hashed_password.eq(hashed_password.expose()))
                .returning(users::all_columns)
                .get_result(connection)
                .optional()
                .map_err(DbError::from)?;
            row.map(User::try_from).transpose()
        })
        .await
    }

    /// The stored hash of some user, the same one for a number as long as no
    /// user comes or goes; `None` when there are no users. Over all numbers
    /// the choice follows the mix of costs that is stored.
    ///
    /// # Errors
    ///
    /// When the database cannot.
    pub async fn sample_hashed_password(
        &self,
        number: u32,
    ) -> Result<Option<HashedPassword>, DbError> {
        self.read(move |connection| {
            let highest: Option<i64> = users::table
                .select(diesel::dsl::max(users::id))
                .first(connection)?;
            let Some(highest) = highest else {
                return Ok(None);
            };
            let from = i64::from(number) % highest.saturating_add(1).max(1);
            let stored: Option<String> = users::table
                .filter(users::id.ge(from))
                .order(users::id)
                .select(users::hashed_password)
                .first(connection)
                .optional()?;
            Ok(stored.map(HashedPassword::new))
        })
        .await
    }
}
