//! The table `sessions`.

use chrono::{DateTime, NaiveDateTime, Utc};
use diesel::{
    BoolExpressionMethods as _, ExpressionMethods as _, Insertable, OptionalExtension as _,
    QueryDsl as _, Queryable, RunQueryDsl as _,
};

use super::{
    Db, DbError,
    connection::AnyConnection,
    schema::{sessions, users},
    users::{UserRow, hold},
};
use crate::{
    causes::with_causes,
    domain::{
        Client, CredentialVersion, Session, SessionDigest, SessionHandle, SessionTimes, User,
        UserId,
    },
};

/// How many sessions too many are ended with one that is opened: there is one,
/// unless there was no limit before.
const REMOVED_AT_ONCE: i64 = 500;

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
    credential_version: i64,
}

impl SessionRow {
    fn new(digest: SessionDigest, session: &Session) -> Self {
        Self {
            digest: digest.as_bytes().to_vec(),
            handle: session.handle.to_string(),
            user_id: session.user_id.0,
            created_at: session.created_at.naive_utc(),
            last_seen_at: session.last_seen_at.naive_utc(),
            user_agent: session.client.user_agent().to_owned(),
            ip: session.client.ip().to_string(),
            credential_version: session.credential_version.0,
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
            credential_version: CredentialVersion(row.credential_version),
            created_at: row.created_at.and_utc(),
            last_seen_at: row.last_seen_at.and_utc(),
            client: Client::new(
                &row.user_agent,
                row.ip.parse().map_err(|_| unfit("IP address"))?,
            ),
        })
    }
}

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

/// A session and whose it is, expired or not. One that was opened with another
/// password than its user has is none.
pub(super) fn find(
    connection: &mut AnyConnection,
    digest: SessionDigest,
) -> Result<Option<(Session, User)>, DbError> {
    let rows: Option<(SessionRow, UserRow)> = sessions::table
        .inner_join(users::table)
        .filter(sessions::digest.eq(digest.as_bytes()))
        .filter(sessions::credential_version.eq(users::credential_version))
        .first(connection)
        .optional()?;
    rows.map(|(session, user)| Ok((session.try_into()?, user.try_into()?)))
        .transpose()
}

/// The same, and nobody else ends or opens sessions of its user until the unit
/// of work ends. Whatever ends several sessions goes through here: it would
/// wait for others in whatever order, and some of them for it.
fn find_and_hold(
    connection: &mut AnyConnection,
    digest: SessionDigest,
) -> Result<Option<(Session, User)>, DbError> {
    let Some((_, user)) = find(connection, digest)? else {
        return Ok(None);
    };
    hold(connection, user.id)?;
    find(connection, digest)
}

/// What is told of a session that was ended: no more than has to be readable
/// for it to end.
#[derive(Queryable)]
struct EndedRow {
    created_at: NaiveDateTime,
    last_seen_at: NaiveDateTime,
}

impl From<EndedRow> for SessionTimes {
    fn from(row: EndedRow) -> Self {
        Self {
            created_at: row.created_at.and_utc(),
            last_seen_at: row.last_seen_at.and_utc(),
        }
    }
}

/// Ends every session of a user.
pub(super) fn remove_all(connection: &mut AnyConnection, user_id: UserId) -> Result<(), DbError> {
    diesel::delete(sessions::table.filter(sessions::user_id.eq(user_id.0))).execute(connection)?;
    Ok(())
}

/// Ends the sessions of a user beyond the `most` that were seen last.
fn remove_beyond(
    connection: &mut AnyConnection,
    user_id: UserId,
    most: u32,
) -> Result<(), DbError> {
    let beyond: Vec<Vec<u8>> = sessions::table
        .filter(sessions::user_id.eq(user_id.0))
        .order((sessions::last_seen_at.desc(), sessions::digest))
        .select(sessions::digest)
        .limit(REMOVED_AT_ONCE)
        .offset(most.into())
        .load(connection)?;
    if !beyond.is_empty() {
        diesel::delete(sessions::table.filter(sessions::digest.eq_any(beyond)))
            .execute(connection)?;
    }
    Ok(())
}

#[diesel::dsl::auto_type(no_type_alias)]
fn is_expired(last_seen_before: DateTime<Utc>, created_before: DateTime<Utc>) -> _ {
    let (last_seen_before, created_before): (NaiveDateTime, NaiveDateTime) =
        (last_seen_before.naive_utc(), created_before.naive_utc());
    sessions::last_seen_at
        .le(last_seen_before)
        .or(sessions::created_at.le(created_before))
}

/// A damaged row is in the way of no other.
fn readable(row: SessionRow) -> Option<Session> {
    Session::try_from(row)
        .inspect_err(|error| tracing::error!(cause = with_causes(error), "a session is not listed"))
        .ok()
}

impl Db {
    /// Adds a session to its user and ends the one that it replaces, if any,
    /// and where the user would have more than `most`, those seen longest ago.
    /// `false`, and nothing has changed, when the user has another credential
    /// version than the session by now, or is gone.
    ///
    /// # Errors
    ///
    /// When the database cannot.
    pub async fn add_session(
        &self,
        digest: SessionDigest,
        session: Session,
        replaced: Option<SessionDigest>,
        most: u32,
    ) -> Result<bool, DbError> {
        self.write(move |connection| {
            // A change of the password that comes later ends this session too.
            let user = hold(connection, session.user_id)?;
            if user.map(|user| user.credential_version) != Some(session.credential_version) {
                return Ok(false);
            }
            if let Some(replaced) = replaced {
                let replaced = sessions::digest.eq(replaced.as_bytes().to_vec());
                diesel::delete(sessions::table.filter(replaced)).execute(connection)?;
            }
            remove_beyond(connection, session.user_id, most.saturating_sub(1))?;
            add(connection, digest, &session)?;
            Ok(true)
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
        digest: SessionDigest,
    ) -> Result<Option<(Session, User)>, DbError> {
        self.read(move |connection| find(connection, digest)).await
    }

    /// The sessions of a user, expired ones too, those seen last first, at most
    /// `most` of them.
    ///
    /// # Errors
    ///
    /// When the database cannot.
    pub async fn list_sessions(&self, user: &User, most: u32) -> Result<Vec<Session>, DbError> {
        let (id, version) = (user.id, user.credential_version);
        self.read(move |connection| {
            let rows: Vec<SessionRow> = sessions::table
                .filter(sessions::user_id.eq(id.0))
                .filter(sessions::credential_version.eq(version.0))
                .order((sessions::last_seen_at.desc(), sessions::handle))
                .limit(most.into())
                .load(connection)?;
            Ok(rows.into_iter().filter_map(readable).collect())
        })
        .await
    }

    /// Notes that a session was checked at `now`, unless that was noted
    /// already; a session that has ended meanwhile stays ended. `false` when
    /// the database is too busy or away: the next check will note it.
    pub async fn touch_session(&self, digest: SessionDigest, now: DateTime<Utc>) -> bool {
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

    /// Ends a session for good and returns its times; `None` when there was
    /// none. Of several that end one at once, one is given them.
    ///
    /// # Errors
    ///
    /// When the database cannot.
    pub async fn remove_session(
        &self,
        digest: SessionDigest,
    ) -> Result<Option<SessionTimes>, DbError> {
        self.write(move |connection| {
            let found = find_and_hold(connection, digest)?;
            let session = sessions::table.filter(sessions::digest.eq(digest.as_bytes()));
            let ended: Option<EndedRow> = diesel::delete(session)
                .returning((sessions::created_at, sessions::last_seen_at))
                .get_result(connection)
                .optional()?;
            Ok(found.and(ended).map(SessionTimes::from))
        })
        .await
    }

    /// Ends, for the owner of the session `by`, the session of theirs that a
    /// handle names, and returns its times. The outer `None`: `by` is no
    /// session any more, and nothing was ended.
    ///
    /// # Errors
    ///
    /// When the database cannot.
    pub async fn remove_session_by_handle(
        &self,
        by: SessionDigest,
        handle: SessionHandle,
    ) -> Result<Option<Option<SessionTimes>>, DbError> {
        self.write(move |connection| {
            let Some((_, user)) = find_and_hold(connection, by)? else {
                return Ok(None);
            };
            let session = sessions::table
                .filter(sessions::handle.eq(handle.to_string()))
                .filter(sessions::user_id.eq(user.id.0));
            let ended: Option<EndedRow> = diesel::delete(session)
                .returning((sessions::created_at, sessions::last_seen_at))
                .get_result(connection)
                .optional()?;
            Ok(Some(ended.map(SessionTimes::from)))
        })
        .await
    }

    /// Ends, for the owner of the session `by`, all their other sessions, and
    /// returns their times. `None`: `by` is no session any more, and
    /// nothing was ended.
    ///
    /// # Errors
    ///
    /// When the database cannot.
    pub async fn remove_other_sessions(
        &self,
        by: SessionDigest,
    ) -> Result<Option<Vec<SessionTimes>>, DbError> {
        self.write(move |connection| {
            let Some((_, user)) = find_and_hold(connection, by)? else {
                return Ok(None);
            };
            let others = sessions::table
                .filter(sessions::user_id.eq(user.id.0))
                .filter(sessions::digest.ne(by.as_bytes()));
            let ended: Vec<EndedRow> = diesel::delete(others)
                .returning((sessions::created_at, sessions::last_seen_at))
                .get_results(connection)?;
            Ok(Some(ended.into_iter().map(SessionTimes::from).collect()))
        })
        .await
    }

    /// Removes some sessions, at most `most`, that were last seen or opened
    /// before these times; returns how many there were.
    ///
    /// # Errors
    ///
    /// When the database cannot.
    pub async fn remove_expired_sessions(
        &self,
        last_seen_before: DateTime<Utc>,
        created_before: DateTime<Utc>,
        most: u32,
    ) -> Result<usize, DbError> {
        // Most of the time there are none: no need for a turn to write.
        let expired: Vec<Vec<u8>> = self
            .read(move |connection| {
                Ok(sessions::table
                    .filter(is_expired(last_seen_before, created_before))
                    .select(sessions::digest)
                    .limit(most.into())
                    .load(connection)?)
            })
            .await?;
        if expired.is_empty() {
            return Ok(0);
        }
        self.write(move |connection| {
            // One that was checked meanwhile has not expired.
            let still = sessions::table
                .filter(sessions::digest.eq_any(expired))
                .filter(is_expired(last_seen_before, created_before));
            let digests = still.select(sessions::digest);
            let free: Vec<Vec<u8>> = match connection {
                AnyConnection::Sqlite(sqlite) => digests.load(sqlite)?,
                // One that somebody else is ending is waited for by nobody.
                AnyConnection::Postgres(postgres) => {
                    digests.for_update().skip_locked().load(postgres)?
                }
            };
            let free = sessions::table.filter(sessions::digest.eq_any(free));
            Ok(diesel::delete(free).execute(connection)?)
        })
        .await
    }
}
