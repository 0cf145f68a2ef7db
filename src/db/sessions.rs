//! The table `sessions`.

mod expiry;
mod listing;
mod row;

use chrono::{DateTime, NaiveDateTime, Utc};
use diesel::{
    ExpressionMethods as _, OptionalExtension as _, QueryDsl as _, RunQueryDsl as _,
    SelectableHelper as _,
};

use self::row::SessionRow;
pub(super) use self::row::{EndedRow, to_digest, to_digests};
pub use self::{
    listing::{DigestCursor, Page},
    row::EndedSession,
};
use super::{
    Db, DbError,
    connection::AnyConnection,
    schema::{sessions, users},
    users::UserRow,
};
use crate::domain::{Session, SessionDigest, SessionHandle, User, UserId};

/// The most sessions beyond a user's limit that are ended when one is opened. There is
/// usually one; there are more when the limit is new.
const MAX_REMOVED: i64 = 500;

/// Of several uses of a session, the latest counts: without the maximum, PostgreSQL would take an
/// arbitrary one. Sessions locked by another unit of work are skipped: they are being ended, or
/// their last use is being recorded.
const MARK_SEEN: &str = "
    UPDATE sessions SET last_seen_at = used.at
    FROM (SELECT digest, max(at) AS at FROM unnest($1, $2) AS uses (digest, at)
          GROUP BY digest) AS used
    WHERE sessions.digest = used.digest
      AND sessions.last_seen_at < used.at
      AND sessions.digest IN (
        SELECT digest FROM sessions WHERE digest = ANY ($1) FOR NO KEY UPDATE SKIP LOCKED)";

/// Adds a session.
pub(super) fn add(
    connection: &mut AnyConnection,
    digest: SessionDigest,
    session: &Session,
) -> Result<(), DbError> {
    diesel::insert_into(sessions::table)
        .values(SessionRow::new(digest, session))
        .execute(connection)?;
    Ok(())
}

/// Finds a session, expired or not, and its user. A session opened before the user's current
/// password does not count.
pub(super) fn find(
    connection: &mut AnyConnection,
    digest: SessionDigest,
) -> Result<Option<(Session, User)>, DbError> {
    let row: Option<(SessionRow, UserRow)> = sessions::table
        .inner_join(users::table)
        .filter(sessions::digest.eq(digest.as_bytes()))
        .filter(sessions::credential_version.eq(users::credential_version))
        .select((SessionRow::as_select(), UserRow::as_select()))
        .first(connection)
        .optional()?;
    row.map(|(session, user)| Ok((session.try_into()?, user.try_into()?)))
        .transpose()
}

/// The owner of a session, which never changes; also of one opened before the user's current
/// password.
pub(super) fn owner_of(
    connection: &mut AnyConnection,
    digest: SessionDigest,
) -> Result<Option<UserId>, DbError> {
    let owner: Option<i64> = sessions::table
        .filter(sessions::digest.eq(digest.as_bytes()))
        .select(sessions::user_id)
        .first(connection)
        .optional()?;
    Ok(owner.map(UserId))
}

/// The owner of a session, unless it was opened before the user's current password.
pub(super) fn current_owner_of(
    connection: &mut AnyConnection,
    digest: SessionDigest,
) -> Result<Option<UserId>, DbError> {
    let owner: Option<i64> = sessions::table
        .inner_join(users::table)
        .filter(sessions::digest.eq(digest.as_bytes()))
        .filter(sessions::credential_version.eq(users::credential_version))
        .select(users::id)
        .first(connection)
        .optional()?;
    Ok(owner.map(UserId))
}

/// Ends every session of a user and returns their digests.
pub(super) fn remove_all(
    connection: &mut AnyConnection,
    user_id: UserId,
) -> Result<Vec<SessionDigest>, DbError> {
    let ended: Vec<Vec<u8>> =
        diesel::delete(sessions::table.filter(sessions::user_id.eq(user_id.0)))
            .returning(sessions::digest)
            .get_results(connection)?;
    Ok(to_digests(ended))
}

/// Ends the sessions of a user beyond the `limit` seen last, and returns their digests.
pub(super) fn remove_beyond(
    connection: &mut AnyConnection,
    user_id: UserId,
    limit: u32,
) -> Result<Vec<SessionDigest>, DbError> {
    let beyond: Vec<Vec<u8>> = sessions::table
        .filter(sessions::user_id.eq(user_id.0))
        .order((sessions::last_seen_at.desc(), sessions::digest))
        .select(sessions::digest)
        .limit(MAX_REMOVED)
        .offset(limit.into())
        .load(connection)?;
    if !beyond.is_empty() {
        diesel::delete(sessions::table.filter(sessions::digest.eq_any(&beyond)))
            .execute(connection)?;
    }
    Ok(to_digests(beyond))
}

impl Db {
    /// Finds a session, expired or not, and its user; `None` where there is none.
    ///
    /// # Errors
    ///
    /// When the database fails.
    pub async fn find_session(
        &self,
        digest: SessionDigest,
    ) -> Result<Option<(Session, User)>, DbError> {
        self.read(move |connection| find(connection, digest)).await
    }

    /// Whether a user has a session with a handle, expired or not.
    ///
    /// # Errors
    ///
    /// When the database fails.
    pub async fn has_session(
        &self,
        user_id: UserId,
        handle: SessionHandle,
    ) -> Result<bool, DbError> {
        self.read(move |connection| {
            let found: Option<i64> = sessions::table
                .filter(sessions::handle.eq(handle.to_string()))
                .filter(sessions::user_id.eq(user_id.0))
                .select(sessions::user_id)
                .first(connection)
                .optional()?;
            Ok(found.is_some())
        })
        .await
    }

    /// Records when sessions were last used, except where a later use is recorded already. Of
    /// several uses of one session, the latest counts.
    /// Sessions that have ended in the meantime stay ended.
    ///
    /// # Errors
    ///
    /// When the database fails.
    pub async fn mark_sessions_seen(
        &self,
        used: Vec<(SessionDigest, DateTime<Utc>)>,
    ) -> Result<(), DbError> {
        self.write(move |connection| match connection {
            AnyConnection::Sqlite(sqlite) => {
                for (digest, at) in used {
                    let session = sessions::table
                        .filter(sessions::digest.eq(digest.as_bytes()))
                        .filter(sessions::last_seen_at.lt(at.naive_utc()));
                    diesel::update(session)
                        .set(sessions::last_seen_at.eq(at.naive_utc()))
                        .execute(sqlite)?;
                }
                Ok(())
            }
            #[cfg(feature = "postgres")]
            AnyConnection::Postgres(postgres) => {
                use diesel::sql_types::{Array, Binary, Timestamp};

                let (digests, times): (Vec<&[u8]>, Vec<NaiveDateTime>) = used
                    .iter()
                    .map(|(digest, at)| (digest.as_bytes(), at.naive_utc()))
                    .unzip();
                diesel::sql_query(MARK_SEEN)
                    .bind::<Array<Binary>, _>(digests)
                    .bind::<Array<Timestamp>, _>(times)
                    .execute(postgres)?;
                Ok(())
            }
        })
        .await
    }
}
