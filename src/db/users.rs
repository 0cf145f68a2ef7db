//! The table `users`.

use chrono::{DateTime, NaiveDateTime, Utc};
use diesel::{
    BoolExpressionMethods as _, ExpressionMethods as _, Insertable, OptionalExtension as _,
    QueryDsl as _, Queryable, RunQueryDsl as _,
    result::{DatabaseErrorKind, Error as DieselError},
};
use thiserror::Error;

use super::{
    Db, DbError,
    connection::AnyConnection,
    readable::Readable,
    reset_tokens::{self, ResetColumns},
    schema::{sessions, users},
};
use crate::domain::{
    CredentialVersion, Email, HashedPassword, PendingReset, ResetDigest, ResetTokens,
    SessionDigest, User, UserId,
};

/// What to find a user by.
#[derive(Clone, Debug)]
pub enum UserBy {
    /// The id.
    Id(UserId),
    /// The canonical e-mail.
    Email(Email),
    /// A session of theirs, expired or not.
    Session(SessionDigest),
    /// One of their reset tokens, expired or not.
    ResetToken(ResetDigest),
}

/// What to change of a user; `None` leaves a thing as it is.
#[derive(Clone, Debug, Default)]
pub struct UserChanges {
    /// The stored hash of a new password. With it the credential version moves
    /// on, which ends every session, and no reset token is good any more. Nobody
    /// is told: [`Db::change_password`] does that too.
    pub hashed_password: Option<HashedPassword>,
    /// A further reset token, and the present time.
    pub reset: Option<(PendingReset, DateTime<Utc>)>,
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
        let unfit = |what: &str| {
            DbError::Fault(format!("the row {id} of users has no readable {what}").into())
        };
        let email = row.email.ok().ok_or_else(|| unfit("email"))?;
        let email = Email::parse(&email)
            .ok()
            .filter(|parsed| parsed.as_str() == email)
            .ok_or_else(|| unfit("canonical email"))?;
        // One that cannot be read is no hash: a login is refused as with a wrong password,
        // and the user can set a new one.
        let hashed_password = row.hashed_password.ok().unwrap_or_default();
        let created_at = row.created_at.ok().ok_or_else(|| unfit("created_at"))?;
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

/// The one user that a criterion names.
pub(super) fn find(connection: &mut AnyConnection, by: &UserBy) -> Result<Option<User>, DbError> {
    let row: Option<UserRow> = match by {
        UserBy::Id(id) => users::table.find(id.0).first(connection),
        UserBy::Email(email) => users::table
            .filter(users::email.eq(email.as_str()))
            .first(connection),
        UserBy::Session(digest) => users::table
            .inner_join(sessions::table)
            .filter(sessions::digest.eq(digest.as_bytes()))
            .filter(sessions::credential_version.eq(users::credential_version))
            .select(users::all_columns)
            .first(connection),
        UserBy::ResetToken(digest) => users::table
            .filter(
                users::reset_token
                    .eq(digest.as_bytes())
                    .or(users::previous_reset_token.eq(digest.as_bytes())),
            )
            .first(connection),
    }
    .optional()?;
    row.map(User::try_from).transpose()
}

/// Locks users until the unit of work ends, in [the order that all keep](Db::write): nobody
/// else changes them, or opens or ends their sessions. An id that no user has is skipped.
pub(super) fn lock_users(
    connection: &mut AnyConnection,
    ids: impl IntoIterator<Item = UserId>,
) -> Result<(), DbError> {
    // SQLite has one writer at a time anyway.
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

/// A user whom nobody else changes until the unit of work ends.
pub(super) fn hold(connection: &mut AnyConnection, id: UserId) -> Result<Option<User>, DbError> {
    let row: Option<UserRow> = match connection {
        // It has one writer at a time anyway.
        AnyConnection::Sqlite(_) => return find(connection, &UserBy::Id(id)),
        AnyConnection::Postgres(postgres) => {
            users::table.find(id.0).for_no_key_update().first(postgres)
        }
    }
    .optional()?;
    row.map(User::try_from).transpose()
}

/// A user whom nobody else changes until the unit of work ends, unless somebody else
/// changes them now: nobody is waited for.
pub(super) fn hold_if_free(
    connection: &mut AnyConnection,
    id: UserId,
) -> Result<Option<User>, DbError> {
    let row: Option<UserRow> = match connection {
        AnyConnection::Sqlite(_) => return find(connection, &UserBy::Id(id)),
        AnyConnection::Postgres(postgres) => users::table
            .find(id.0)
            .for_no_key_update()
            .skip_locked()
            .first(postgres),
    }
    .optional()?;
    row.map(User::try_from).transpose()
}

/// Gives a user a new password, with all that follows for the row.
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
        self.read(move |connection| find(connection, &by)).await
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
        self.write(move |connection| {
            if let Some(hashed_password) = &changes.hashed_password {
                set_password(connection, id, hashed_password)?;
            }
            if let Some((reset, now)) = changes.reset
                && let Some(user) = hold(connection, id)?
            {
                reset_tokens::add(connection, &user, reset, now)?;
            }
            find(connection, &UserBy::Id(id))
        })
        .await
    }

    /// Stores the same password in another form. Sessions and reset tokens
    /// stay; `false`, and nothing happens, when the password has been changed
    /// meanwhile.
    ///
    /// # Errors
    ///
    /// When the database cannot.
    pub async fn rehash_user(
        &self,
        user: &User,
        hashed_password: HashedPassword,
    ) -> Result<bool, DbError> {
        let (id, before) = (user.id, user.hashed_password.clone());
        self.write(move |connection| {
            let unchanged = users::table
                .find(id.0)
                .filter(users::hashed_password.eq(before.expose()));
            let changed = diesel::update(unchanged)
                .set(users::hashed_password.eq(hashed_password.expose()))
                .execute(connection)?;
            Ok(changed == 1)
        })
        .await
    }
}
