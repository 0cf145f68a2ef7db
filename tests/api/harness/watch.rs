//! The internal listener, and streams of revocations.

use std::{net::SocketAddr, os::unix::fs::PermissionsExt as _, path::PathBuf};

use bienvenue::proto::v1::{
    SessionEnded, UserChanged, UserSessionsEnded, WatchRevocationsRequest,
    WatchRevocationsResponse, admin_service_client::AdminServiceClient,
    watch_revocations_response::Event,
};
use tempfile::TempDir;
use tokio::time::timeout;
use tonic::{Request, Status, Streaming, transport::Channel};

use super::{Database, PATIENCE, server::Client};

/// The token of the internal listener's callers.
pub const ADMIN_TOKEN: &str = "a-token-of-the-least-length-0001";

/// A file with the token; removed when dropped.
pub struct TokenFile {
    folder: TempDir,
}

impl TokenFile {
    pub fn new() -> Self {
        Self::with(ADMIN_TOKEN, 0o600)
    }

    pub fn with(content: &str, mode: u32) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let file = Self { folder };
        std::fs::write(file.path(), content).expect("a file");
        std::fs::set_permissions(file.path(), std::fs::Permissions::from_mode(mode))
            .expect("chmod");
        file
    }

    pub fn path(&self) -> PathBuf {
        self.folder.path().join("token")
    }

    /// The settings for an internal listener on a free port.
    pub fn settings(&self) -> [String; 2] {
        [
            "--admin-listen=127.0.0.1:0".to_owned(),
            format!("--admin-token-file={}", self.path().display()),
        ]
    }
}

/// A request with these `authorization` headers.
pub fn authorized<T>(message: T, authorization: &[&str]) -> Request<T> {
    let mut request = Request::new(message);
    for value in authorization {
        let value = value.parse().expect("a header");
        request.metadata_mut().append("authorization", value);
    }
    request
}

/// A stream of revocations, with a check of their order.
pub struct Watcher {
    stream: Streaming<WatchRevocationsResponse>,
    /// The last received revision.
    pub last: i64,
}

impl Watcher {
    /// Begins after a revision, or at the end of the log.
    pub async fn begin(address: SocketAddr, since: Option<i64>) -> Result<Self, Status> {
        Self::begin_on(Client::connect(address).await.channel, since).await
    }

    /// Like [`Watcher::begin`], on an open connection.
    pub async fn begin_on(channel: Channel, since: Option<i64>) -> Result<Self, Status> {
        let request = WatchRevocationsRequest {
            since_revision: since,
        };
        let bearer = format!("Bearer {ADMIN_TOKEN}");
        let request = authorized(request, &[&bearer]);
        let mut client = AdminServiceClient::new(channel);
        let mut watcher = Self {
            stream: client.watch_revocations(request).await?.into_inner(),
            last: since.unwrap_or_default(),
        };
        if since.is_none() {
            let (revision, event) = watcher.next().await?;
            assert!(matches!(event, Event::Heartbeat(_)), "{event:?}");
            watcher.last = revision;
        }
        Ok(watcher)
    }

    /// The next message.
    pub async fn next(&mut self) -> Result<(i64, Event), Status> {
        let message = timeout(PATIENCE, self.stream.message())
            .await
            .expect("a message in time")?
            .expect("a message or a status");
        let event = message.event.expect("an event");
        let is_in_order = match event {
            Event::Heartbeat(_) => message.revision >= self.last,
            _ => message.revision > self.last,
        };
        assert!(is_in_order, "{} after {}", message.revision, self.last);
        self.last = message.revision;
        Ok((message.revision, event))
    }

    /// The next message except heartbeats.
    pub async fn event(&mut self) -> (i64, Event) {
        self.next_event().await.expect("a message")
    }

    /// The next message except heartbeats, or the stream's final status.
    pub async fn next_event(&mut self) -> Result<(i64, Event), Status> {
        loop {
            let (revision, event) = self.next().await?;
            if !matches!(event, Event::Heartbeat(_)) {
                return Ok((revision, event));
            }
        }
    }

    /// All events up to the heartbeat with this revision.
    pub async fn until(&mut self, revision: i64) -> Vec<(i64, Event)> {
        let mut events = Vec::new();
        loop {
            let (announced, event) = self.next().await.expect("a message");
            match event {
                Event::Heartbeat(_) if announced >= revision => return events,
                Event::Heartbeat(_) => {}
                event => events.push((announced, event)),
            }
        }
    }

    /// Waits for the end of the stream.
    pub async fn end(&mut self) -> Status {
        loop {
            if let Err(status) = self.next().await {
                return status;
            }
        }
    }
}

pub fn session_ended(handle: &str, user_id: i64) -> Event {
    let handle = handle.to_owned();
    Event::SessionEnded(SessionEnded { handle, user_id })
}

pub fn user_sessions_ended(user_id: i64) -> Event {
    Event::UserSessionsEnded(UserSessionsEnded { user_id })
}

pub fn user_changed(user_id: i64) -> Event {
    Event::UserChanged(UserChanged { user_id })
}

/// The log's events after a revision, read from the database.
pub fn log_after(database: &Database, revision: i64) -> Vec<(i64, Event)> {
    let entry = "revision || ' ' || kind || ' ' || user_id || ' ' || coalesce(handle, '')";
    let log = if database.is_sqlite() {
        database.text(&format!(
            "SELECT coalesce(group_concat(entry, ','), '') FROM (
                 SELECT {entry} AS entry FROM revocations WHERE revision > {revision}
                 ORDER BY revision)"
        ))
    } else {
        database.text(&format!(
            "SELECT coalesce(string_agg({entry}, ',' ORDER BY revision), '')
             FROM revocations WHERE revision > {revision}"
        ))
    };
    let entries = log.split_terminator(',').map(|entry| {
        let mut words = entry.split(' ');
        let mut next = || words.next().expect("four words");
        let (revision, kind) = (next().parse().expect("a number"), next());
        let (user_id, handle) = (next().parse().expect("a number"), next());
        let event = match kind {
            "session_ended" => session_ended(handle, user_id),
            "user_sessions_ended" => user_sessions_ended(user_id),
            _ => user_changed(user_id),
        };
        (revision, event)
    });
    entries.collect()
}

/// The last revision of the log.
pub fn head(database: &Database) -> i64 {
    let text = database.text("SELECT CAST(coalesce(max(revision), 0) AS TEXT) FROM revocations");
    text.parse().expect("a number")
}

const SESSION_COLUMNS: &str =
    "digest, handle, user_id, created_at, last_seen_at, user_agent, ip, credential_version";

/// Opens many sessions of a user in the database, with unknown `session_id`s.
pub fn open_sessions(database: &Database, user_id: i64, many: usize) {
    database.batch(&if database.is_sqlite() {
        let version = format!("(SELECT credential_version FROM users WHERE id = {user_id})");
        format!(
            "INSERT INTO sessions ({SESSION_COLUMNS})
             WITH RECURSIVE series (n) AS (
                 SELECT 1 UNION ALL SELECT n + 1 FROM series WHERE n < {many})
             SELECT randomblob(32),
                    lower(hex(randomblob(4)) || '-0000-4000-8000-' || hex(randomblob(6))),
                    {user_id}, datetime('now'), datetime('now'), '', '::1', {version}
             FROM series"
        )
    } else {
        open_sessions_sql(user_id, many)
    });
}

/// The statement for PostgreSQL.
pub fn open_sessions_sql(user_id: i64, many: usize) -> String {
    format!(
        "INSERT INTO sessions ({SESSION_COLUMNS})
         SELECT sha256(gen_random_uuid()::text::bytea), gen_random_uuid()::text, users.id,
                now() AT TIME ZONE 'UTC', now() AT TIME ZONE 'UTC', '', '::1', credential_version
         FROM users, generate_series(1, {many}) WHERE users.id = {user_id}"
    )
}
