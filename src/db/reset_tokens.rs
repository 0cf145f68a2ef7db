//! The reset tokens of the table `users`: the newest and the one before it.

use chrono::{DateTime, NaiveDateTime, Utc};
use diesel::{
    ExpressionMethods as _, QueryDsl as _, RunQueryDsl as _,
    sql_types::{BigInt, Timestamp},
};

use super::{Db, DbError, connection::AnyConnection, readable::Readable, schema::users};
use crate::domain::{PendingReset, ResetDigest, ResetTokens, User, UserId};

/// Removes tokens of users whose newest one expires before `$1` or after `$2`. Users
/// that others are changing are left to the next sweep.
const REMOVE_ON_POSTGRES: &str = "
    UPDATE users
    SET reset_token = NULL, reset_token_expires_at = NULL, reset_token_mailed_at = NULL,
        previous_reset_token = NULL, previous_reset_token_expires_at = NULL,
        previous_reset_token_mailed_at = NULL
    WHERE id IN (
        SELECT id FROM users
        WHERE reset_token_expires_at < $1 OR reset_token_expires_at > $2
        LIMIT $3 FOR NO KEY UPDATE SKIP LOCKED)";

const REMOVE_ON_SQLITE: &str = "
    UPDATE users
    SET reset_token = NULL, reset_token_expires_at = NULL, reset_token_mailed_at = NULL,
        previous_reset_token = NULL, previous_reset_token_expires_at = NULL,
        previous_reset_token_mailed_at = NULL
    WHERE id IN (
        SELECT id FROM users
        WHERE reset_token_expires_at < $1 OR reset_token_expires_at > $2
        LIMIT $3)";

/// The columns of one token, as stored.
pub(super) struct ResetColumns {
    pub(super) digest: Option<Vec<u8>>,
    pub(super) expires_at: Option<Readable<NaiveDateTime>>,
    pub(super) mailed_at: Option<Readable<NaiveDateTime>>,
}

impl ResetColumns {
    /// A token that cannot be read is none: its user asks for another.
    fn read(self) -> Option<PendingReset> {
        let time = |column: Option<Readable<NaiveDateTime>>| {
            column.and_then(Readable::ok).map(|time| time.and_utc())
        };
        Some(PendingReset {
            digest: ResetDigest::from_bytes(&self.digest?)?,
            expires_at: time(self.expires_at)?,
            mailed_at: time(self.mailed_at),
        })
    }
}

/// Reads the newest token and the one before.
pub(super) fn read(newest: ResetColumns, previous: ResetColumns) -> ResetTokens {
    ResetTokens {
        newest: newest.read(),
        previous: previous.read(),
    }
}

/// Gives a user, whose row is locked, a further token. A good one that was mailed stays
/// beside it.
pub(super) fn add(
    connection: &mut AnyConnection,
    user: &User,
    reset: PendingReset,
    now: DateTime<Utc>,
) -> Result<(), DbError> {
    store(connection, user.id, user.resets.with(reset, now))
}

/// Stores which tokens a user has.
pub(super) fn store(
    connection: &mut AnyConnection,
    user_id: UserId,
    ResetTokens { newest, previous }: ResetTokens,
) -> Result<(), DbError> {
    let digest = |token: Option<PendingReset>| token.map(|token| token.digest.as_bytes().to_vec());
    let expires_at = |token: Option<PendingReset>| token.map(|token| token.expires_at.naive_utc());
    let mailed_at = |token: Option<PendingReset>| {
        token
            .and_then(|token| token.mailed_at)
            .map(|mailed_at| mailed_at.naive_utc())
    };
    diesel::update(users::table.find(user_id.0))
        .set((
            users::reset_token.eq(digest(newest)),
            users::reset_token_expires_at.eq(expires_at(newest)),
            users::reset_token_mailed_at.eq(mailed_at(newest)),
            users::previous_reset_token.eq(digest(previous)),
            users::previous_reset_token_expires_at.eq(expires_at(previous)),
            users::previous_reset_token_mailed_at.eq(mailed_at(previous)),
        ))
        .execute(connection)?;
    Ok(())
}

/// Notes that a token was mailed, unless another has taken its place.
pub(super) fn note_mailed(
    connection: &mut AnyConnection,
    digest: ResetDigest,
    mailed_at: DateTime<Utc>,
) -> Result<(), DbError> {
    diesel::update(users::table.filter(users::reset_token.eq(digest.as_bytes())))
        .set(users::reset_token_mailed_at.eq(mailed_at.naive_utc()))
        .execute(connection)?;
    Ok(())
}

impl Db {
    /// Removes the reset tokens of some users, at most `most`, whose newest one expired
    /// before `before` or is dated to expire after `after`; returns how many users that
    /// were.
    ///
    /// # Errors
    ///
    /// When the database cannot.
    pub async fn remove_reset_tokens(
        &self,
        before: DateTime<Utc>,
        after: DateTime<Utc>,
        most: u32,
    ) -> Result<usize, DbError> {
        let (before, after) = (before.naive_utc(), after.naive_utc());
        // Most of the time there are none: no need for a turn to write.
        let found = self
            .read(move |connection| {
                let found: Vec<i64> = users::table
                    .filter(users::reset_token_expires_at.lt(before))
                    .or_filter(users::reset_token_expires_at.gt(after))
                    .select(users::id)
                    .limit(1)
                    .load(connection)?;
                Ok(!found.is_empty())
            })
            .await?;
        if !found {
            return Ok(0);
        }
        self.write(move |connection| {
            let remove = diesel::sql_query(match connection {
                AnyConnection::Sqlite(_) => REMOVE_ON_SQLITE,
                AnyConnection::Postgres(_) => REMOVE_ON_POSTGRES,
            })
            .bind::<Timestamp, _>(before)
            .bind::<Timestamp, _>(after)
            .bind::<BigInt, _>(i64::from(most));
            Ok(match connection {
                AnyConnection::Sqlite(sqlite) => remove.execute(sqlite)?,
                AnyConnection::Postgres(postgres) => remove.execute(postgres)?,
            })
        })
        .await
    }
}
