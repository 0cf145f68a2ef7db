//! The table `sessions`.

use chrono::{DateTime, NaiveDateTime, Utc};
use diesel::{
    ExpressionMethods as _, Insertable, OptionalExtension as _, QueryDsl as _, Queryable,
    RunQueryDsl as _,
};

use super::{
    Db, DbError,
    schema::{sessions, users},
    users::UserRow,
};
use crate::domain::{Client, Session, SessionHandle, TokenDigest, User, UserId};

/// A row, in the order of the table's columns.
#[derive(Queryable, Insertable)]
#[diesel(table_name = sessions)]
struct SessionRow {
    digest: Vec<u8>,
    handle: String,
    user_id: i64,
    created_at: NaiveDateTime,
    last_seen_at: NaiveDateTime,
    user_agent: String,
    ip: String,
}

impl SessionRow {
    fn new(digest: TokenDigest, session: &Session) -> Self {
        Self {
            digest: digest.as_bytes().to_vec(),
            handle: session.handle.to_string(),
            user_id: session.user_id.0,
            created_at: session.created_at.naive_utc(),
            last_seen_at: session.last_seen_at.naive_utc(),
            user_agent: session.client.user_agent().to_owned(),
            ip: session.client.ip().to_string(),
        }
    }
}

impl TryFrom<SessionRow> for Session {
    type Error = DbError;

    fn try_from(row: SessionRow) -> Result<Self, DbError> {
        let unfit = |what: &str| {
            DbError::Fault(format!("a session of user {} has no {what}", row.user_id).into())
        };
        Ok(Self {
            handle: SessionHandle::parse(&row.handle).ok_or_else(|| unfit("handle"))?,
            user_id: UserId(row.user_id),
            created_at: row.created_at.and_utc(),
            last_seen_at: row.last_seen_at.and_utc(),
            client: Client::new(
                &row.user_agent,
                row.ip.parse().map_err(|_| unfit("IP address"))?,
            ),
        })
    }
}

impl Db {
    /// Adds a session to its user.
    ///
    /// # Errors
    ///
    /// When the database cannot.
    pub async fn add_session(&self, digest: TokenDigest, session: Session) -> Result<(), DbError> {
        self.write(move |connection| {
            diesel::insert_into(sessions::table)
                .values(SessionRow::new(digest, &session))
                .execute(connection)?;
            Ok(())
        })
        .await
    }

    /// Finds a session, expired or not, and whose it is.
    ///
    /// # Errors
    ///
    /// When the database cannot. That there is none is no error.
    pub async fn find_session(
        &self,
        digest: TokenDigest,
    ) -> Result<Option<(Session, User)>, DbError> {
        self.read(move |connection| {
            let rows: Option<(SessionRow, UserRow)> = sessions::table
                .inner_join(users::table)
                .filter(sessions::digest.eq(digest.as_bytes()))
                .first(connection)
                .optional()?;
            rows.map(|(session, user)| Ok((session.try_into()?, user.try_into()?)))
                .transpose()
        })
        .await
    }

    /// Notes that a session was checked at `now`, unless that was noted
    /// already; a session that has ended meanwhile stays ended. `false` when
    /// the database is too busy or away: the next check will note it.
    pub async fn touch_session(&self, digest: TokenDigest, now: DateTime<Utc>) -> bool {
        self.write_if_idle(move |connection| {
            let session = sessions::table
                .filter(sessions::digest.eq(digest.as_bytes()))
                .filter(sessions::last_seen_at.lt(now.naive_utc()));
            diesel::update(session)
                .set(sessions::last_seen_at.eq(now.naive_utc()))
                .execute(connection)?;
            Ok(())
        })
        .await
    }

    /// Ends a session for good and returns it as it was; `None` when there was
    /// none. Of several that end one at once, one is given it.
    ///
    /// # Errors
    ///
    /// When the database cannot.
    pub async fn remove_session(&self, digest: TokenDigest) -> Result<Option<Session>, DbError> {
        self.write(move |connection| {
            let session = sessions::table.filter(sessions::digest.eq(digest.as_bytes()));
            let row: Option<SessionRow> = diesel::delete(session)
                .returning(sessions::all_columns)
                .get_result(connection)
                .optional()?;
            row.map(Session::try_from).transpose()
        })
        .await
    }
}
