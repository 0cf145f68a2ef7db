//! Lists of sessions, a page at a time.

use chrono::{DateTime, NaiveDateTime};
use diesel::{
    BoolExpressionMethods as _, ExpressionMethods as _, QueryDsl as _, RunQueryDsl as _,
    SelectableHelper as _,
};

use super::row::{SessionRow, read_or_skip, to_digests};
use crate::{
    db::{
        Db, DbError,
        schema::{sessions, users},
        users::UserRow,
    },
    domain::{Session, SessionDigest, SessionOwner, SessionPosition, User, UserId},
};

/// A part of a list.
#[derive(Debug)]
pub struct Page<T, P = DigestCursor> {
    /// The items.
    pub items: Vec<T>,
    /// The position after which the next page begins; `None` on the last page.
    pub next: Option<P>,
}

/// A position in the order of the digests.
#[derive(Clone, Debug, Default)]
pub struct DigestCursor(Vec<u8>);

/// Later than every session: the end of the year 9999.
const END_OF_TIME: NaiveDateTime = match DateTime::from_timestamp(253_402_300_799, 0) {
    Some(time) => time.naive_utc(),
    None => NaiveDateTime::MAX,
};

impl Db {
    /// At most `limit` sessions of a user after a position, newest first, expired ones
    /// included. Damaged rows are left out.
    ///
    /// # Errors
    ///
    /// When the database fails.
    pub async fn list_sessions(
        &self,
        user_id: UserId,
        after: Option<SessionPosition>,
        limit: u32,
    ) -> Result<Page<(SessionDigest, Session), SessionPosition>, DbError> {
        let created_at = after.map_or(END_OF_TIME, |after| after.created_at.naive_utc());
        let handle = after.map_or_else(String::new, |after| after.handle.to_string());
        let comes_after = sessions::created_at.lt(created_at).or(sessions::created_at
            .eq(created_at)
            .and(sessions::handle.gt(handle)));
        self.read(move |connection| {
            let mut rows: Vec<SessionRow> = sessions::table
                .inner_join(users::table)
                .filter(sessions::user_id.eq(user_id.0))
                .filter(sessions::credential_version.eq(users::credential_version))
                .filter(comes_after)
                .select(SessionRow::as_select())
                .order((sessions::created_at.desc(), sessions::handle))
                // One more row tells whether there is another page.
                .limit(i64::from(limit) + 1)
                .load(connection)?;
            let has_more = rows.len() > limit as usize;
            rows.truncate(limit as usize);
            let next = has_more.then(|| rows.iter().rev().find_map(SessionRow::position));
            let next = next.flatten();
            let items = rows.into_iter().filter_map(|row| {
                let digest = SessionDigest::from_bytes(&row.digest)?;
                Some((digest, read_or_skip::<Session, _>(row)?))
            });
            Ok(Page {
                items: items.collect(),
                next,
            })
        })
        .await
    }

    /// At most `limit` sessions of all users with their owners, in the order of their
    /// digests, expired ones included. Damaged rows are left out.
    ///
    /// # Errors
    ///
    /// When the database fails.
    pub async fn sessions_after(
        &self,
        after: Option<DigestCursor>,
        limit: u32,
    ) -> Result<Page<(SessionDigest, Session, SessionOwner)>, DbError> {
        let DigestCursor(after) = after.unwrap_or_default();
        self.read(move |connection| {
            let rows: Vec<(SessionRow, UserRow)> = sessions::table
                .inner_join(users::table)
                .filter(sessions::digest.gt(after))
                .filter(sessions::credential_version.eq(users::credential_version))
                .select((SessionRow::as_select(), UserRow::as_select()))
                .order(sessions::digest)
                .limit(limit.into())
                .load(connection)?;
            let is_full = rows.len() >= limit as usize;
            let last = rows.last().filter(|_| is_full);
            let next = last.map(|(session, _)| DigestCursor(session.digest.clone()));
            let items = rows.into_iter().filter_map(|(session, user)| {
                let digest = SessionDigest::from_bytes(&session.digest)?;
                Some((
                    digest,
                    read_or_skip::<Session, _>(session)?,
                    read_or_skip::<User, _>(user)?.into(),
                ))
            });
            Ok(Page {
                items: items.collect(),
                next,
            })
        })
        .await
    }

    /// At most `limit` digests of sessions of all users, in their own order.
    ///
    /// # Errors
    ///
    /// When the database fails.
    pub async fn session_digests_after(
        &self,
        after: Option<DigestCursor>,
        limit: u32,
    ) -> Result<Page<SessionDigest>, DbError> {
        let DigestCursor(after) = after.unwrap_or_default();
        self.read(move |connection| {
            let digests: Vec<Vec<u8>> = sessions::table
                .filter(sessions::digest.gt(after))
                .order(sessions::digest)
                .select(sessions::digest)
                .limit(limit.into())
                .load(connection)?;
            let is_full = digests.len() >= limit as usize;
            let last = digests.last().filter(|_| is_full);
            Ok(Page {
                next: last.map(|digest| DigestCursor(digest.clone())),
                items: to_digests(digests),
            })
        })
        .await
    }
}
