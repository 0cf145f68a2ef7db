//! The table `users`.

pub(super) mod reset_tokens;

use chrono::{DateTime, NaiveDateTime, Utc};
use diesel::{
    BoolExpressionMethods as _, ExpressionMethods as _, Insertable, OptionalExtension as _,
    QueryDsl as _, QueryResult, Queryable, RunQueryDsl as _, Selectable, SelectableHelper as _,
    result::{DatabaseErrorKind, Error as DieselError},
};
use thiserror::Error;

use self::reset_tokens::ResetColumns;
use super::{
    Db, DbError,
    connection::AnyConnection,
    readable::Readable,
    schema::{sessions, users},
};
use crate::domain::{
    CredentialVersion, Email, HashedPassword, PendingReset, ResetDigest, ResetTokens,
    SessionDigest, User, UserId,
};

/// A criterion that identifies one user.
#[derive(Clone, Debug)]
pub enum UserBy {
    /// The id.
    Id(UserId),
    /// The canonical e-mail.
    Email(Email),
    /// One of the user's sessions, expired or not.
    Session(SessionDigest),
    /// One of the user's reset tokens, expired or not.
    ResetToken(ResetDigest),
}

/// A change to a user that does not change the password: only
/// [`Db::change_password`] does.
#[derive(Clone, Debug)]
pub enum UserChange {
    /// Another reset token. A valid token mailed before stays valid.
    AddResetToken {
        /// The token.
        reset: PendingReset,
        /// The present time.
        now: DateTime<Utc>,
    },
    /// Another hash of the same password. Sessions and reset tokens stay.
    ReplaceHash {
        /// The stored hash. With another one, the password was changed in the meantime.
        before: HashedPassword,
        /// The new hash.
        after: HashedPassword,
    },
}

/// The reason why a user was not added.
#[derive(Debug, Error)]
pub enum AddUserError {
    /// Another user has the e-mail.
    #[error("the e-mail is taken")]
    EmailTaken,
    /// The database failed.
    #[error(transparent)]
    Db(#[from] DbError),
}

/// A row.
#[derive(Queryable, Selectable)]
#[diesel(table_name = users)]
pub(super) struct UserRow {
    id: i64,
    email: Readable<String>,
    hashed_password: Readable<String>,
    created_at: Readable<NaiveDateTime>,
    credential_version: i64,
    reset_token: Option<Vec<u8>>,
    reset_token_expires_at: Option<Readable<NaiveDateTime>>,
    reset_token_mailed_at: Option<Readable<NaiveDateTime>>,
    previous_reset_token: Option<Vec<u8>>,
    previous_reset_token_expires_at: Option<Readable<NaiveDateTime>>,
    previous_reset_token_mailed_at: Option<Readable<NaiveDateTime>>,
}

#[derive(Insertable)]
#[diesel(table_name = users)]
struct NewUserRow {
    email: String,
    hashed_password: String,
    created_at: NaiveDateTime,
}

impl UserRow {
    pub(super) fn has_email(&self, email: &Email) -> bool {
        self.email.get().is_some_and(|own| own == email.as_str())
    }

    pub(super) fn hashed_password(&self) -> HashedPassword {
        HashedPassword::new(self.hashed_password.get().cloned().unwrap_or_default())
    }
}

impl TryFrom<UserRow> for User {
    type Error = DbError;

    fn try_from(row: UserRow) -> Result<Self, DbError> {
        let id = row.id;
        let damaged = |column: &str| {
            DbError::Fault(format!("the row {id} of users has no readable {column}").into())
        };
        let email = row.email.ok().ok_or_else(|| damaged("email"))?;
        let email = Email::parse(&email)
            .ok()
            .filter(|parsed| parsed.as_str() == email)
            .ok_or_else(|| damaged("canonical email"))?;
        // A damaged hash matches no password: logins are refused as with a wrong password,
        // and the user can set a new one.
        let hashed_password = row.hashed_password.ok().unwrap_or_default();
        let created_at = row.created_at.ok().ok_or_else(|| damaged("created_at"))?;
        Ok(Self {
            id: UserId(id),
            email,
            hashed_password: HashedPassword::new(hashed_password),
            created_at: created_at.and_utc(),
            credential_version: CredentialVersion(row.credential_version),
            resets: reset_tokens::read(
                ResetColumns {
                    digest: row.reset_token,
                    expires_at: row.reset_token_expires_at,
                    mailed_at: row.reset_token_mailed_at,
                },
                ResetColumns {
                    digest: row.previous_reset_token,
                    expires_at: row.previous_reset_token_expires_at,
                    mailed_at: row.previous_reset_token_mailed_at,
                },
            ),
        })
    }
}

/// Finds the user that a criterion identifies.
pub(super) fn find(connection: &mut AnyConnection, by: &UserBy) -> Result<Option<User>, DbError> {
    let row: Option<UserRow> = match by {
        UserBy::Id(id) => users::table
            .find(id.0)
            .select(UserRow::as_select())
            .first(connection),
        UserBy::Email(email) => users::table
            .filter(users::email.eq(email.as_str()))
            .select(UserRow::as_select())
            .first(connection),
        UserBy::Session(digest) => users::table
            .inner_join(sessions::table)
            .filter(sessions::digest.eq(digest.as_bytes()))
            .filter(sessions::credential_version.eq(users::credential_version))
            .select(UserRow::as_select())
            .first(connection),
        UserBy::ResetToken(digest) => users::table
            .filter(
                users::reset_token
                    .eq(digest.as_bytes())
                    .or(users::previous_reset_token.eq(digest.as_bytes())),
            )
            .select(UserRow::as_select())
            .first(connection),
    }
    .optional()?;
    row.map(User::try_from).transpose()
}

/// Locks users until the unit of work ends, in [the order common to all](Db::write): no other
/// unit of work changes them, or opens or ends their sessions. An id without a user is
/// skipped.
pub(super) fn lock_users(
    connection: &mut AnyConnection,
    ids: impl IntoIterator<Item = UserId>,
) -> Result<(), DbError> {
    // SQLite has one writer at a time.
    #[cfg(feature = "postgres")]
    if let AnyConnection::Postgres(postgres) = connection {
        let ids = ids.into_iter().map(|id| id.0);
        users::table
            .filter(users::id.eq_any(ids))
            .order(users::id)
            .select(users::id)
            .for_no_key_update()
            .load::<i64>(postgres)?;
    }
    Ok(())
}

/// Locks a user until the unit of work ends, and reads it.
pub(super) fn lock_user(
    connection: &mut AnyConnection,
    id: UserId,
) -> Result<Option<User>, DbError> {
    lock(connection, id, IfLocked::Wait)
}

/// Locks a user like [`lock_user`], without waiting: `None` also for a user locked by another
/// unit of work.
pub(super) fn try_lock_user(
    connection: &mut AnyConnection,
    id: UserId,
) -> Result<Option<User>, DbError> {
    lock(connection, id, IfLocked::Skip)
}

/// What to do about a user locked by another unit of work.
enum IfLocked {
    Wait,
    Skip,
}

fn lock(
    connection: &mut AnyConnection,
    id: UserId,
    if_locked: IfLocked,
) -> Result<Option<User>, DbError> {
    match connection {
        // SQLite has one writer at a time.
        AnyConnection::Sqlite(_) => find(connection, &UserBy::Id(id)),
        #[cfg(feature = "postgres")]
        AnyConnection::Postgres(postgres) => {
            let locked = users::table
                .find(id.0)
                .select(UserRow::as_select())
                .for_no_key_update();
            let row: QueryResult<UserRow> = match if_locked {
                IfLocked::Wait => locked.first(postgres),
                IfLocked::Skip => locked.skip_locked().first(postgres),
            };
            row.optional()?.map(User::try_from).transpose()
        }
    }
}

/// Stores a new password, which increments the credential version and voids the reset tokens.
pub(super) fn set_password(
    connection: &mut AnyConnection,
    id: UserId,
    hashed_password: &HashedPassword,
) -> Result<(), DbError> {
    diesel::update(users::table.find(id.0))
        .set((
            users::hashed_password.eq(hashed_password.expose()),
            users::credential_version.eq(users::credential_version + 1),
        ))
        .execute(connection)?;
    reset_tokens::store(connection, id, ResetTokens::default())
}

impl Db {
    /// Adds a user. Of several concurrent calls with one e-mail, one succeeds.
    ///
    /// # Errors
    ///
    /// When the e-mail is taken, or the database fails.
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

    /// Finds the user that a criterion identifies; `None` where there is none.
    ///
    /// # Errors
    ///
    /// When the database fails.
    pub async fn find_user_by(&self, by: UserBy) -> Result<Option<User>, DbError> {
        self.read(move |connection| find(connection, &by)).await
    }

    /// Changes a user; `false`, and nothing is changed, where there is no such user or the change
    /// does not apply any more.
    ///
    /// # Errors
    ///
    /// When the database fails.
    pub async fn update_user(&self, id: UserId, change: UserChange) -> Result<bool, DbError> {
        self.write(move |connection| match change {
            UserChange::AddResetToken { reset, now } => {
                let Some(user) = lock_user(connection, id)? else {
                    return Ok(false);
                };
                reset_tokens::add(connection, &user, reset, now)?;
                Ok(true)
            }
            UserChange::ReplaceHash { before, after } => {
                let unchanged = users::table
                    .find(id.0)
                    .filter(users::hashed_password.eq(before.expose()));
                let changed = diesel::update(unchanged)
                    .set(users::hashed_password.eq(after.expose()))
                    .execute(connection)?;
                Ok(changed == 1)
            }
        })
        .await
    }
}
