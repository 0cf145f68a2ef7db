//! The columns of the table `users` with its reset tokens: the newest and the previous one.

use chrono::{DateTime, NaiveDateTime, Utc};
use diesel::{ExpressionMethods as _, QueryDsl as _, RunQueryDsl as _};

use crate::{
    db::{
        Db, DbError,
        batch_change::{Batch, Change},
        connection::AnyConnection,
        readable::Readable,
        schema::users,
    },
    domain::{PendingReset, ResetDigest, ResetTokens, User, UserId},
};

/// The columns of one token, as stored.
pub(in crate::db) struct ResetColumns {
    pub(in crate::db) digest: Option<Vec<u8>>,
    pub(in crate::db) expires_at: Option<Readable<NaiveDateTime>>,
    pub(in crate::db) mailed_at: Option<Readable<NaiveDateTime>>,
}

impl ResetColumns {
    /// A damaged token counts as none: its user can request another.
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

/// Reads the newest and the previous token.
pub(in crate::db) fn read(newest: ResetColumns, previous: ResetColumns) -> ResetTokens {
    ResetTokens {
        newest: newest.read(),
        previous: previous.read(),
    }
}

/// Adds a token for a user, whose row is locked. A valid token mailed before stays valid.
pub(in crate::db) fn add(
    connection: &mut AnyConnection,
    user: &User,
    reset: PendingReset,
    now: DateTime<Utc>,
) -> Result<(), DbError> {
    store(connection, user.id, user.resets.with(reset, now))
}

/// Stores the tokens of a user.
pub(in crate::db) fn store(
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

/// Records when a token was mailed, unless a newer token has replaced it.
pub(in crate::db) fn note_mailed(
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
    /// Removes the reset tokens of at most `limit` users whose newest token expired before
    /// `before` or would expire after `after`, and returns the number of users.
    ///
    /// # Errors
    ///
    /// When the database fails.
    pub async fn remove_reset_tokens(
        &self,
        before: DateTime<Utc>,
        after: DateTime<Utc>,
        limit: u32,
    ) -> Result<usize, DbError> {
        let batch = Batch {
            table: "users",
            key: "id",
            condition: "reset_token_expires_at < $1 OR reset_token_expires_at > $2",
            times: [before.naive_utc(), after.naive_utc()],
            change: Change::Set(
                "reset_token = NULL, reset_token_expires_at = NULL, reset_token_mailed_at = NULL,
                 previous_reset_token = NULL, previous_reset_token_expires_at = NULL,
                 previous_reset_token_mailed_at = NULL",
            ),
        };
        self.change_batch(batch, limit).await
    }
}
