//! The table `sessions`.

use chrono::{DateTime, NaiveDateTime, Utc};
use diesel::{
    BoolExpressionMethods as _, ExpressionMethods as _, Insertable, OptionalExtension as _,
    QueryDsl as _, Queryable, RunQueryDsl as _,
    sql_types::{Array, Binary, Timestamp},
};

use super::{
    Db, DbError,
    connection::AnyConnection,
    readable::Readable,
    schema::{sessions, users},
    users::{UserRow, hold, lock_users},
};
use crate::{
    domain::{
        Client, CredentialVersion, Session, SessionDigest, SessionHandle, SessionOwner,
        SessionPosition, SessionTimes, User, UserId,
    },
    error_chain::with_causes,
};

/// A session that ended.
#[derive(Clone, Copy, Debug)]
pub struct Ended {
    /// What it was found by.
    pub digest: SessionDigest,
    /// What its limits went by; `None` where that cannot be read.
    pub times: Option<SessionTimes>,
}

/// How many sessions too many are ended with one that is opened: there is one,
/// unless there was no limit before.
const REMOVED_AT_ONCE: i64 = 500;

/// One that somebody else is ending, or noting the use of, is waited for by nobody.
const TOUCH: &str = "
    UPDATE sessions SET last_seen_at = used.at
    FROM unnest($1, $2) AS used (digest, at)
    WHERE sessions.digest = used.digest
      AND sessions.last_seen_at < used.at
      AND sessions.digest IN (
        SELECT digest FROM sessions WHERE digest = ANY ($1) FOR NO KEY UPDATE SKIP LOCKED)";

/// A row, in the order of the table's columns.
#[derive(Queryable)]
struct SessionRow {
    digest: Vec<u8>,
    handle: Readable<String>,
    user_id: i64,
    created_at: Readable<NaiveDateTime>,
    last_seen_at: Readable<NaiveDateTime>,
    user_agent: Readable<String>,
    ip: Readable<String>,
    credential_version: i64,
}

#[derive(Insertable)]
#[diesel(table_name = sessions)]
struct NewSessionRow {
    digest: Vec<u8>,
    handle: String,
    user_id: i64,
    created_at: NaiveDateTime,
    last_seen_at: NaiveDateTime,
    user_agent: String,
    ip: String,
    credential_version: i64,
}

impl NewSessionRow {
    fn new(digest: SessionDigest, session: &Session) -> Self {
        Self {
            digest: digest.as_bytes().to_vec(),
            handle: session.handle.to_string(),
            user_id: session.user_id.0,
            created_at: session.created_at.naive_utc(),
            last_seen_at: session.last_seen_at.naive_utc(),
            user_agent: session.client.user_agent().to_string(),
            ip: session.client.ip().to_string(),
            credential_version: session.credential_version.0,
        }
    }
}

impl TryFrom<SessionRow> for Session {
    type Error = DbError;

    fn try_from(row: SessionRow) -> Result<Self, DbError> {
        let (digest, user_id) = (row.digest, row.user_id);
        let handle = row.handle.ok();
        let handle = handle.as_deref().and_then(SessionHandle::parse);
        let unfit = |what: &str| {
            // Where its handle is gone, its digest, which is no secret.
            let name = handle.map_or_else(|| hex(&digest), |handle| handle.to_string());
            let why = format!("the row {name} of sessions, of user {user_id}, has no readable");
            DbError::Fault(format!("{why} {what}").into())
        };
        let created_at = row.created_at.ok().ok_or_else(|| unfit("created_at"))?;
        let last_seen_at = row.last_seen_at.ok().ok_or_else(|| unfit("last_seen_at"))?;
        let user_agent = row.user_agent.ok().ok_or_else(|| unfit("user_agent"))?;
        let ip = row.ip.ok().and_then(|ip| ip.parse().ok());
        Ok(Self {
            handle: handle.ok_or_else(|| unfit("handle"))?,
            user_id: UserId(user_id),
            credential_version: CredentialVersion(row.credential_version),
            created_at: created_at.and_utc(),
            last_seen_at: last_seen_at.and_utc(),
            client: Client::new(&user_agent, ip.ok_or_else(|| unfit("ip"))?),
        })
    }
}

/// As many bytes as a digest has, in hexadecimal digits.
fn hex(bytes: &[u8]) -> String {
    let bytes = bytes.iter().take(32);
    bytes.map(|byte| format!("{byte:02x}")).collect()
}

/// Adds a session.
pub(super) fn add(
    connection: &mut AnyConnection,
    digest: SessionDigest,
    session: &Session,
) -> Result<(), DbError> {
    diesel::insert_into(sessions::table)
        .values(NewSessionRow::new(digest, session))
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

/// Whose a session is, whatever password it was opened with. That never changes.
fn owner_of(
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

/// The user of a session that was opened with the password that the user has. Nobody else
/// ends or opens sessions of that user until the unit of work ends. Neither row has to be
/// readable for a session to end.
fn lock_owner(
    connection: &mut AnyConnection,
    digest: SessionDigest,
) -> Result<Option<UserId>, DbError> {
    let Some(owner) = owner_of(connection, digest)? else {
        return Ok(None);
    };
    lock_users(connection, [owner])?;
    owner_if_current(connection, digest)
}

/// Whose a session is, if it was opened with the password that its user has.
fn owner_if_current(
    connection: &mut AnyConnection,
    digest: SessionDigest,
) -> Result<Option<UserId>, DbError> {
    let id: Option<i64> = sessions::table
        .inner_join(users::table)
        .filter(sessions::digest.eq(digest.as_bytes()))
        .filter(sessions::credential_version.eq(users::credential_version))
        .select(users::id)
        .first(connection)
        .optional()?;
    Ok(id.map(UserId))
}

/// What is told of a session that was ended: no more than has to be readable
/// for it to end.
#[derive(Queryable)]
struct EndedRow {
    digest: Vec<u8>,
    created_at: Readable<NaiveDateTime>,
    last_seen_at: Readable<NaiveDateTime>,
}

const ENDED: (
    sessions::digest,
    sessions::created_at,
    sessions::last_seen_at,
) = (
    sessions::digest,
    sessions::created_at,
    sessions::last_seen_at,
);

impl EndedRow {
    /// `None` where the digest is no digest: nobody can present such a session, and
    /// memory does not know it.
    fn into_ended(self) -> Option<Ended> {
        let times = match (self.created_at.ok(), self.last_seen_at.ok()) {
            (Some(created_at), Some(last_seen_at)) => Some(SessionTimes {
                created_at: created_at.and_utc(),
                last_seen_at: last_seen_at.and_utc(),
            }),
            _ => None,
        };
        Some(Ended {
            digest: SessionDigest::from_bytes(&self.digest)?,
            times,
        })
    }
}

/// The table takes no other.
pub(super) fn to_digest(bytes: &[u8]) -> Result<SessionDigest, DbError> {
    SessionDigest::from_bytes(bytes)
        .ok_or_else(|| DbError::Fault("a session's digest is not of 32 bytes".into()))
}

/// What is no digest is left out: nobody can present such a session.
fn to_digests(rows: Vec<Vec<u8>>) -> Vec<SessionDigest> {
    let digests = rows.iter().map(|bytes| SessionDigest::from_bytes(bytes));
    digests.flatten().collect()
}

/// Ends every session of a user and returns them.
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

/// Ends the sessions of a user beyond the `most` that were seen last, and returns
/// them.
fn remove_beyond(
    connection: &mut AnyConnection,
    user_id: UserId,
    most: u32,
) -> Result<Vec<SessionDigest>, DbError> {
    let beyond: Vec<Vec<u8>> = sessions::table
        .filter(sessions::user_id.eq(user_id.0))
        .order((sessions::last_seen_at.desc(), sessions::digest))
        .select(sessions::digest)
        .limit(REMOVED_AT_ONCE)
        .offset(most.into())
        .load(connection)?;
    if !beyond.is_empty() {
        diesel::delete(sessions::table.filter(sessions::digest.eq_any(&beyond)))
            .execute(connection)?;
    }
    Ok(to_digests(beyond))
}

/// A part of many.
#[derive(Debug)]
pub struct Page<T, P = Place> {
    /// What is in it.
    pub items: Vec<T>,
    /// After which to go on, where there may be more.
    pub next: Option<P>,
}

/// After every session: the end of the year 9999.
const END_OF_TIME: NaiveDateTime = match DateTime::from_timestamp(253_402_300_799, 0) {
    Some(time) => time.naive_utc(),
    None => NaiveDateTime::MAX,
};

/// Where a row stands among the sessions of its user; `None` where its time cannot be
/// read. One whose handle is damaged stands behind all that were opened at the same time.
fn position(row: &SessionRow) -> Option<SessionPosition> {
    const LAST: &str = "ffffffff-ffff-ffff-ffff-ffffffffffff";
    let handle = row
        .handle
        .get()
        .and_then(|handle| SessionHandle::parse(handle));
    Some(SessionPosition {
        created_at: row.created_at.get()?.and_utc(),
        handle: handle.or_else(|| SessionHandle::parse(LAST))?,
    })
}

/// A place in the order of the digests.
#[derive(Clone, Debug, Default)]
pub struct Place(Vec<u8>);

/// A damaged row is in the way of no other: it is named in the log and left out.
fn readable<T: TryFrom<R, Error = DbError>, R>(row: R) -> Option<T> {
    let read = T::try_from(row);
    read.inspect_err(|error| tracing::error!(cause = with_causes(error), "a session is left out"))
        .ok()
}

impl Db {
    /// Adds a session to its user and ends the one that it replaces, if any,
    /// and where the user would have more than `most`, those seen longest ago;
    /// returns those that ended. `None`, and nothing has changed, when the user
    /// has another credential version than the session by now, or is gone.
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
    ) -> Result<Option<Vec<SessionDigest>>, DbError> {
        self.write(move |connection| {
            // The session that is replaced may be another user's.
            if let Some(replaced) = replaced
                && let Some(owner) = owner_of(connection, replaced)?
            {
                lock_users(connection, [owner, session.user_id])?;
            }
            // A change of the password that comes later ends this session too.
            let user = hold(connection, session.user_id)?;
            if user.map(|user| user.credential_version) != Some(session.credential_version) {
                return Ok(None);
            }
            let mut ended = Vec::new();
            if let Some(replaced) = replaced {
                let session = sessions::table.filter(sessions::digest.eq(replaced.as_bytes()));
                if diesel::delete(session).execute(connection)? > 0 {
                    ended.push(replaced);
                }
            }
            let most = most.saturating_sub(1);
            ended.extend(remove_beyond(connection, session.user_id, most)?);
            add(connection, digest, &session)?;
            Ok(Some(ended))
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

    /// The sessions of a user that come after a position, expired ones too, at most
    /// `most` of them: those opened last first. A row that cannot be read is left out.
    ///
    /// # Errors
    ///
    /// When the database cannot.
    pub async fn list_sessions(
        &self,
        user_id: UserId,
        after: Option<SessionPosition>,
        most: u32,
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
                .select(sessions::all_columns)
                .order((sessions::created_at.desc(), sessions::handle))
                // One more tells whether there are more.
                .limit(i64::from(most) + 1)
                .load(connection)?;
            let has_more = rows.len() > most as usize;
            rows.truncate(most as usize);
            let next = has_more.then(|| rows.iter().rev().find_map(position));
            let next = next.flatten();
            let items = rows.into_iter().filter_map(|row| {
                let digest = SessionDigest::from_bytes(&row.digest)?;
                Some((digest, readable::<Session, _>(row)?))
            });
            Ok(Page {
                items: items.collect(),
                next,
            })
        })
        .await
    }

    /// Some sessions, at most `most`, expired ones too, with their users: those
    /// whose digests come after `after`, in the order of their digests. One that
    /// cannot be read is left out; whether there may be more, and after which
    /// digest, is returned with them.
    ///
    /// # Errors
    ///
    /// When the database cannot.
    pub async fn sessions_after(
        &self,
        after: Option<Place>,
        most: u32,
    ) -> Result<Page<(SessionDigest, Session, SessionOwner)>, DbError> {
        let Place(after) = after.unwrap_or_default();
        self.read(move |connection| {
            let rows: Vec<(SessionRow, UserRow)> = sessions::table
                .inner_join(users::table)
                .filter(sessions::digest.gt(after))
                .filter(sessions::credential_version.eq(users::credential_version))
                .order(sessions::digest)
                .limit(most.into())
                .load(connection)?;
            let is_full = rows.len() >= most as usize;
            let last = rows.last().filter(|_| is_full);
            let next = last.map(|(session, _)| Place(session.digest.clone()));
            let items = rows.into_iter().filter_map(|(session, user)| {
                let digest = SessionDigest::from_bytes(&session.digest)?;
                Some((
                    digest,
                    readable::<Session, _>(session)?,
                    readable::<User, _>(user)?.into(),
                ))
            });
            Ok(Page {
                items: items.collect(),
                next,
            })
        })
        .await
    }

    /// The digests of some sessions, likewise.
    ///
    /// # Errors
    ///
    /// When the database cannot.
    pub async fn session_digests_after(
        &self,
        after: Option<Place>,
        most: u32,
    ) -> Result<Page<SessionDigest>, DbError> {
        let Place(after) = after.unwrap_or_default();
        self.read(move |connection| {
            let digests: Vec<Vec<u8>> = sessions::table
                .filter(sessions::digest.gt(after))
                .order(sessions::digest)
                .select(sessions::digest)
                .limit(most.into())
                .load(connection)?;
            let is_full = digests.len() >= most as usize;
            let last = digests.last().filter(|_| is_full);
            Ok(Page {
                next: last.map(|digest| Place(digest.clone())),
                items: to_digests(digests),
            })
        })
        .await
    }

    /// Notes when sessions were used last, unless something later was noted
    /// already; those that have ended meanwhile stay ended.
    ///
    /// # Errors
    ///
    /// When the database cannot.
    pub async fn touch_sessions(
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
            AnyConnection::Postgres(postgres) => {
                let (digests, times): (Vec<&[u8]>, Vec<NaiveDateTime>) = used
                    .iter()
                    .map(|(digest, at)| (digest.as_bytes(), at.naive_utc()))
                    .unzip();
                diesel::sql_query(TOUCH)
                    .bind::<Array<Binary>, _>(digests)
                    .bind::<Array<Timestamp>, _>(times)
                    .execute(postgres)?;
                Ok(())
            }
        })
        .await
    }

    /// Ends a session for good and returns it; `None` when there was none. Of several
    /// that end one at once, one is given it.
    ///
    /// # Errors
    ///
    /// When the database cannot.
    pub async fn remove_session(&self, digest: SessionDigest) -> Result<Option<Ended>, DbError> {
        self.write(move |connection| {
            let is_current = lock_owner(connection, digest)?.is_some();
            let session = sessions::table.filter(sessions::digest.eq(digest.as_bytes()));
            let ended: Option<EndedRow> = diesel::delete(session)
                .returning(ENDED)
                .get_result(connection)
                .optional()?;
            let ended = ended.filter(|_| is_current);
            Ok(ended.and_then(EndedRow::into_ended))
        })
        .await
    }

    /// Whether a handle names a session of a user, expired or not.
    ///
    /// # Errors
    ///
    /// When the database cannot.
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

    /// Ends, for the owner of the session `by`, the session of theirs that a
    /// handle names, and returns it. The outer `None`: `by` is no session any
    /// more, and nothing was ended.
    ///
    /// # Errors
    ///
    /// When the database cannot.
    pub async fn remove_session_by_handle(
        &self,
        by: SessionDigest,
        handle: SessionHandle,
    ) -> Result<Option<Option<Ended>>, DbError> {
        self.write(move |connection| {
            let Some(owner) = lock_owner(connection, by)? else {
                return Ok(None);
            };
            let session = sessions::table
                .filter(sessions::handle.eq(handle.to_string()))
                .filter(sessions::user_id.eq(owner.0));
            let ended: Option<EndedRow> = diesel::delete(session)
                .returning(ENDED)
                .get_result(connection)
                .optional()?;
            Ok(Some(ended.and_then(EndedRow::into_ended)))
        })
        .await
    }

    /// Ends, for the owner of the session `by`, all their other sessions, and
    /// returns them. `None`: `by` is no session any more, and nothing was ended.
    ///
    /// # Errors
    ///
    /// When the database cannot.
    pub async fn remove_other_sessions(
        &self,
        by: SessionDigest,
    ) -> Result<Option<Vec<Ended>>, DbError> {
        self.write(move |connection| {
            let Some(owner) = lock_owner(connection, by)? else {
                return Ok(None);
            };
            let others = sessions::table
                .filter(sessions::user_id.eq(owner.0))
                .filter(sessions::digest.ne(by.as_bytes()));
            let ended: Vec<EndedRow> = diesel::delete(others)
                .returning(ENDED)
                .get_results(connection)?;
            let ended = ended.into_iter().filter_map(EndedRow::into_ended);
            Ok(Some(ended.collect()))
        })
        .await
    }
}
