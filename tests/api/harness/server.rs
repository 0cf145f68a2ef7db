//! The real server, in this process, on a free port, with a clock set by tests.

use std::{
    ffi::OsString,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicI64, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use bienvenue::{
    app::Server,
    cli::{self, Command},
    clock::{Clock, ClockReading, TimeSource},
    config::Config,
    lifecycle::Phase,
    proto::v1::{
        ChangePasswordRequest, ChangePasswordResponse, GetUserBySessionRequest,
        GetUserBySessionResponse, ListSessionsRequest, ListSessionsResponse, LoginRequest,
        LoginResponse, LogoutRequest, RegisterRequest, RequestPasswordResetRequest,
        ResetPasswordRequest, RevokeOtherSessionsRequest, RevokeSessionRequest, Session, User,
        auth_service_client::AuthServiceClient,
    },
};
use chrono::{DateTime, Utc};
use futures_util::{StreamExt as _, stream};
use tokio::{sync::watch, task::JoinHandle};
use tonic::{
    Code, Status,
    transport::{Channel, Endpoint},
};

use super::{
    Database, EMAIL, Expect as _, Outbox, PASSWORD, Watcher, eventually, eventually_some,
    eventually_within, raw, watch::TokenFile,
};

/// A server that stops when dropped.
pub struct TestServer {
    pub address: SocketAddr,
    /// The internal listener's address, where it is on.
    pub admin_address: Option<SocketAddr>,
    pub clock: TestClock,
    pub client: Client,
    /// The folder for its mail, unless a test sets another destination.
    pub outbox: Outbox,
    phase: watch::Sender<Phase>,
    running: Option<JoinHandle<()>>,
}

/// Retries while a dropped server still holds the SQLite file.
async fn open(config: &Config, clock: &TestClock) -> Server {
    eventually_some("the SQLite file is free", async || {
        match Server::open(config, clock.clock()).await {
            Ok(server) => Some(server),
            Err(error) => {
                let is_in_use = error.to_string().contains("another bienvenue uses it");
                assert!(is_in_use, "the server does not start: {error}");
                None
            }
        }
    })
    .await
}

impl TestServer {
    pub async fn start(database: &Database) -> Self {
        Self::start_with(database, &[]).await
    }

    /// Starts it with additional settings, as on the command line.
    pub async fn start_with(database: &Database, settings: &[&str]) -> Self {
        Self::start_at(database.url(), settings).await
    }

    /// Like [`TestServer::start_with`], with the internal listener.
    pub async fn start_watched(database: &Database, settings: &[&str]) -> Self {
        let token_file = TokenFile::new();
        let internal = token_file.settings();
        let internal = internal.iter().map(String::as_str);
        let all: Vec<&str> = internal.chain(settings.iter().copied()).collect();
        Self::start_with(database, &all).await
    }

    /// Opens a stream of revocations.
    pub async fn watch(&self, since: Option<i64>) -> Result<Watcher, Status> {
        let address = self.admin_address.expect("an internal listener");
        Watcher::begin(address, since).await
    }

    pub async fn start_at(database_url: &str, settings: &[&str]) -> Self {
        Self::start_at_time(database_url, settings, TestClock::default()).await
    }

    /// Starts it with an already changed clock.
    pub async fn start_at_time(database_url: &str, settings: &[&str], clock: TestClock) -> Self {
        let outbox = Outbox::new();
        let folder = format!("--outbox={}", outbox.path().display());
        let mut all = settings.to_vec();
        if !settings
            .iter()
            .any(|own| own.starts_with("--smtp-url") || own.starts_with("--outbox"))
        {
            all.push(&folder);
        }
        let server = open(&config(database_url, &all), &clock).await;
        let (address, admin_address) = (server.address(), server.admin_address());
        let (phase, phases) = watch::channel(Phase::Serving);
        let running = tokio::spawn(server.run(phases));
        Self {
            address,
            admin_address,
            clock,
            client: Client::connect(address).await,
            outbox,
            phase,
            running: Some(running),
        }
    }

    /// Stops it like a signal and waits for its end.
    pub async fn stop(mut self) {
        let _ = self.phase.send(Phase::Stopping);
        if let Some(running) = self.running.take() {
            running.await.expect("the server ends");
        }
    }

    /// Registers the usual user.
    pub async fn register(&self) -> User {
        self.client
            .register(EMAIL, PASSWORD)
            .await
            .expect("a registration")
    }

    /// Expects a login of the usual user, and a check, to succeed on the same connection.
    pub async fn expect_service(&self) {
        let login = self.login().await;
        let checked = self.client.check(&login.session_id).await;
        checked.expect("a session");
    }

    /// Requests a reset token for the usual user, and returns it from the mail.
    pub async fn reset_token(&self) -> String {
        self.client
            .request_password_reset(EMAIL)
            .await
            .expect("a request");
        loop {
            // Notices of earlier changes may precede it.
            let mail = self.outbox.next().await;
            if mail.body.contains("reset_token=") {
                return mail.reset_token();
            }
        }
    }

    /// Requests a reset token from a server with `reset-delivery=response`.
    pub async fn reset_token_in_reply(&self) -> String {
        let headers = [("content-type", "application/x-www-form-urlencoded")];
        let body = format!("email={EMAIL}");
        let response = raw::http1(
            self.address,
            "POST",
            "/reset_password",
            &headers,
            body.as_bytes(),
        )
        .await;
        let reply: serde_json::Value = serde_json::from_slice(&response.body).expect("JSON");
        reply["reset_token"].as_str().expect("a token").to_owned()
    }

    /// Logs the usual user in many times, a few at once.
    pub async fn logins(&self, many: usize) -> Vec<LoginResponse> {
        stream::iter(0..many)
            .map(|_| self.login())
            .buffered(4)
            .collect()
            .await
    }

    /// Logs the usual user in.
    pub async fn login(&self) -> LoginResponse {
        self.client.login(EMAIL, PASSWORD).await.expect("a login")
    }
}

/// Settings as on the command line, with cheap hashes.
pub fn config(database_url: &str, settings: &[&str]) -> Config {
    let fixed = [
        "bienvenue",
        "--listen=127.0.0.1:0",
        "--database-url",
        database_url,
    ];
    let cheap = [
        "--bcrypt-cost=4",
        "--database-connections=4",
        "--hash-threads=4",
    ];
    // The caller's settings replace these defaults.
    let cheap = cheap.into_iter().filter(|setting| {
        let flag = setting.split('=').next().unwrap_or_default();
        !settings
            .iter()
            .any(|own| own.split('=').next() == Some(flag))
    });
    let arguments = fixed
        .into_iter()
        .chain(cheap)
        .chain(settings.iter().copied())
        .map(OsString::from);
    match cli::parse(arguments) {
        Ok(Command::Serve(config)) => *config,
        other => panic!("not settings: {other:?}"),
    }
}

/// Clocks that follow the machine's, plus an offset set by the test.
#[derive(Clone)]
pub struct TestClock {
    start: Instant,
    advanced_us: Arc<AtomicI64>,
    /// The error of the wall clock.
    jumped_us: Arc<AtomicI64>,
    /// The number of times that a server has read both clocks.
    readings: Arc<AtomicU64>,
}

impl Default for TestClock {
    fn default() -> Self {
        Self {
            start: Instant::now(),
            advanced_us: Arc::default(),
            jumped_us: Arc::default(),
            readings: Arc::default(),
        }
    }
}

impl TestClock {
    pub fn now(&self) -> DateTime<Utc> {
        let (advanced, jumped) = (&self.advanced_us, &self.jumped_us);
        let offset = advanced.load(Ordering::SeqCst) + jumped.load(Ordering::SeqCst);
        #[expect(clippy::disallowed_methods, reason = "the tests' own clock")]
        let now = Utc::now();
        now + chrono::TimeDelta::microseconds(offset)
    }

    /// Waits for this number of whole sweeps: only a sweep reads both clocks, at its beginning.
    pub async fn sweeps(&self, many: u64) {
        let readings = || self.readings.load(Ordering::SeqCst);
        let before = readings();
        eventually(format!("{many} sweeps"), async || {
            readings() > before + many
        })
        .await;
    }

    /// Advances the wall clock and the monotonic clock.
    pub fn advance(&self, by: Duration) {
        let by = i64::try_from(by.as_micros()).expect("a modest step");
        self.advanced_us.fetch_add(by, Ordering::SeqCst);
    }

    /// Sets only the wall clock forward or back.
    pub fn jump(&self, seconds: i64) {
        self.jumped_us
            .fetch_add(seconds * 1_000_000, Ordering::SeqCst);
    }

    pub fn clock(&self) -> Clock {
        Clock::new(self.clone())
    }
}

impl TimeSource for TestClock {
    fn now(&self) -> DateTime<Utc> {
        Self::now(self)
    }

    fn reading(&self) -> ClockReading {
        self.readings.fetch_add(1, Ordering::SeqCst);
        let advanced = self.advanced_us.load(Ordering::SeqCst);
        ClockReading {
            wall: self.now(),
            monotonic: self.start.elapsed() + Duration::from_micros(advanced.unsigned_abs()),
        }
    }
}

/// A real tonic client on one connection. Cheap to clone.
#[derive(Clone)]
pub struct Client {
    pub channel: Channel,
}

impl Client {
    pub async fn connect(address: SocketAddr) -> Self {
        let channel = Endpoint::from_shared(format!("http://{address}"))
            .expect("a URL")
            .connect()
            .await
            .expect("a connection");
        Self { channel }
    }

    pub fn stub(&self) -> AuthServiceClient<Channel> {
        AuthServiceClient::new(self.channel.clone())
    }

    pub async fn register(&self, email: &str, password: &str) -> Result<User, Status> {
        let request = RegisterRequest {
            email: email.to_owned(),
            password: password.to_owned(),
        };
        let response = self.stub().register(request).await?.into_inner();
        Ok(response.user.expect("a user"))
    }

    pub async fn login(&self, email: &str, password: &str) -> Result<LoginResponse, Status> {
        let request = LoginRequest {
            email: email.to_owned(),
            password: password.to_owned(),
        };
        Ok(self.stub().login(request).await?.into_inner())
    }

    pub async fn check(&self, session_id: &str) -> Result<GetUserBySessionResponse, Status> {
        let request = GetUserBySessionRequest {
            session_id: session_id.to_owned(),
        };
        let response = self.stub().get_user_by_session(request).await?;
        Ok(response.into_inner())
    }

    /// Checks that a `session_id` is refused.
    pub async fn expect_no_session(&self, session_id: &str) {
        let refusal = self.check(session_id).await;
        refusal.expect_refusal(Code::Unauthenticated, "SESSION_INVALID");
    }

    /// Waits until a `session_id` is refused whose session was ended outside of this server,
    /// which notices after a moment.
    pub async fn until_session_ends(&self, session_id: &str) {
        eventually_within(Duration::from_secs(10), "the session ends", async || {
            self.check(session_id).await.is_err()
        })
        .await;
        self.expect_no_session(session_id).await;
    }

    pub async fn logout(&self, session_id: &str) -> Result<(), Status> {
        let request = LogoutRequest {
            session_id: session_id.to_owned(),
        };
        self.stub().logout(request).await.map(drop)
    }

    /// Lists the first page.
    pub async fn list_sessions(&self, session_id: &str) -> Result<Vec<Session>, Status> {
        Ok(self.list_page(session_id, 0, "").await?.sessions)
    }

    pub async fn list_page(
        &self,
        session_id: &str,
        page_size: i32,
        page_token: &str,
    ) -> Result<ListSessionsResponse, Status> {
        let request = ListSessionsRequest {
            session_id: session_id.to_owned(),
            page_size,
            page_token: page_token.to_owned(),
        };
        Ok(self.stub().list_sessions(request).await?.into_inner())
    }

    pub async fn revoke_session(&self, session_id: &str, handle: &str) -> Result<(), Status> {
        let request = RevokeSessionRequest {
            session_id: session_id.to_owned(),
            handle: handle.to_owned(),
        };
        self.stub().revoke_session(request).await.map(drop)
    }

    pub async fn revoke_other_sessions(&self, session_id: &str) -> Result<i32, Status> {
        let request = RevokeOtherSessionsRequest {
            session_id: session_id.to_owned(),
        };
        let response = self.stub().revoke_other_sessions(request).await?;
        Ok(response.into_inner().revoked)
    }

    pub async fn change_password(
        &self,
        session_id: &str,
        current_password: &str,
        new_password: &str,
    ) -> Result<ChangePasswordResponse, Status> {
        let request = ChangePasswordRequest {
            session_id: session_id.to_owned(),
            current_password: current_password.to_owned(),
            new_password: new_password.to_owned(),
        };
        Ok(self.stub().change_password(request).await?.into_inner())
    }

    pub async fn request_password_reset(&self, email: &str) -> Result<(), Status> {
        let request = RequestPasswordResetRequest {
            email: email.to_owned(),
        };
        self.stub().request_password_reset(request).await.map(drop)
    }

    pub async fn reset_password(
        &self,
        reset_token: &str,
        new_password: &str,
    ) -> Result<User, Status> {
        let request = ResetPasswordRequest {
            reset_token: reset_token.to_owned(),
            new_password: new_password.to_owned(),
        };
        let response = self.stub().reset_password(request).await?.into_inner();
        Ok(response.user.expect("a user"))
    }
}
