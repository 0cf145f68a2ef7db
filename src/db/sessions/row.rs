//! The rows of the table `sessions`.

use chrono::NaiveDateTime;
use diesel::{Insertable, Queryable, Selectable};

use crate::{
    db::{DbError, readable::Readable, schema::sessions},
    domain::{
        Client, CredentialVersion, Session, SessionDigest, SessionHandle, SessionPosition,
        SessionTimes, UserId,
    },
    error_chain::with_causes,
};

/// A row to read or to write. It is the one list of the columns outside the schema.
#[derive(Queryable, Selectable, Insertable)]
#[diesel(table_name = sessions)]
pub(in crate::db) struct SessionRow {
    pub(super) digest: Vec<u8>,
    handle: Readable<String>,
    user_id: i64,
    created_at: Readable<NaiveDateTime>,
    last_seen_at: Readable<NaiveDateTime>,
    user_agent: Readable<String>,
    ip: Readable<String>,
    credential_version: i64,
}

impl SessionRow {
    pub(super) fn new(digest: SessionDigest, session: &Session) -> Self {
        Self {
            digest: digest.as_bytes().to_vec(),
            handle: Readable::new(session.handle.to_string()),
            user_id: session.user_id.0,
            created_at: Readable::new(session.created_at.naive_utc()),
            last_seen_at: Readable::new(session.last_seen_at.naive_utc()),
            user_agent: Readable::new(session.client.user_agent().to_string()),
            ip: Readable::new(session.client.ip().to_string()),
            credential_version: session.credential_version.0,
        }
    }

    /// The position in the list of the user's sessions; `None` where the time is damaged. A
    /// session with a damaged handle comes after all others opened at the same time.
    pub(super) fn position(&self) -> Option<SessionPosition> {
        const LAST: &str = "ffffffff-ffff-ffff-ffff-ffffffffffff";
        let handle = self
            .handle
            .get()
            .and_then(|handle| SessionHandle::parse(handle));
        Some(SessionPosition {
            created_at: self.created_at.get()?.and_utc(),
            handle: handle.or_else(|| SessionHandle::parse(LAST))?,
        })
    }
}

impl TryFrom<SessionRow> for Session {
    type Error = DbError;

    fn try_from(row: SessionRow) -> Result<Self, DbError> {
        let (digest, user_id) = (row.digest, row.user_id);
        let handle = row.handle.ok();
        let handle = handle.as_deref().and_then(SessionHandle::parse);
        let damaged = |column: &str| {
            // Without a handle, the row is named by its digest, which is not a secret.
            let name = handle.map_or_else(|| hex(&digest), |handle| handle.to_string());
            let why = format!("the row {name} of sessions, of user {user_id}, has no readable");
            DbError::Fault(format!("{why} {column}").into())
        };
        let created_at = row.created_at.ok().ok_or_else(|| damaged("created_at"))?;
        let last_seen_at = row
            .last_seen_at
            .ok()
            .ok_or_else(|| damaged("last_seen_at"))?;
        let user_agent = row.user_agent.ok().ok_or_else(|| damaged("user_agent"))?;
        let ip = row.ip.ok().and_then(|ip| ip.parse().ok());
        Ok(Self {
            handle: handle.ok_or_else(|| damaged("handle"))?,
            user_id: UserId(user_id),
            credential_version: CredentialVersion(row.credential_version),
            created_at: created_at.and_utc(),
            last_seen_at: last_seen_at.and_utc(),
            client: Client::new(&user_agent, ip.ok_or_else(|| damaged("ip"))?),
        })
    }
}

/// The first 32 bytes, the length of a digest, in hexadecimal digits.
fn hex(bytes: &[u8]) -> String {
    let bytes = bytes.iter().take(32);
    bytes.map(|byte| format!("{byte:02x}")).collect()
}

/// An ended session.
#[derive(Clone, Copy, Debug)]
pub struct EndedSession {
    /// The digest of its `session_id`.
    pub digest: SessionDigest,
    /// The times that its limits count from; `None` where they are damaged.
    pub times: Option<SessionTimes>,
}

/// The columns returned for a deleted session. The others may be damaged.
#[derive(Queryable, Selectable)]
#[diesel(table_name = sessions)]
pub(in crate::db) struct EndedRow {
    digest: Vec<u8>,
    created_at: Readable<NaiveDateTime>,
    last_seen_at: Readable<NaiveDateTime>,
}

impl EndedRow {
    /// `None` where the digest has another length than a digest: no `session_id` matches such
    /// a row, and the session cache does not have it.
    pub(in crate::db) fn into_ended(self) -> Option<EndedSession> {
        let times = match (self.created_at.ok(), self.last_seen_at.ok()) {
            (Some(created_at), Some(last_seen_at)) => Some(SessionTimes {
                created_at: created_at.and_utc(),
                last_seen_at: last_seen_at.and_utc(),
            }),
            _ => None,
        };
        Some(EndedSession {
            digest: SessionDigest::from_bytes(&self.digest)?,
            times,
        })
    }
}

/// Reads a digest. The table has a check on its length.
pub(in crate::db) fn to_digest(bytes: &[u8]) -> Result<SessionDigest, DbError> {
    SessionDigest::from_bytes(bytes)
        .ok_or_else(|| DbError::Fault("a session's digest does not have 32 bytes".into()))
}

/// Reads digests, and leaves out those of another length, which no `session_id` matches.
pub(in crate::db) fn to_digests(rows: Vec<Vec<u8>>) -> Vec<SessionDigest> {
    let digests = rows.iter().map(|bytes| SessionDigest::from_bytes(bytes));
    digests.flatten().collect()
}

/// Reads a row. A damaged one is logged and left out, so that the others can be returned.
pub(super) fn read_or_skip<T: TryFrom<R, Error = DbError>, R>(row: R) -> Option<T> {
    let read = T::try_from(row);
    read.inspect_err(|error| tracing::error!(cause = with_causes(error), "a session is left out"))
        .ok()
}
