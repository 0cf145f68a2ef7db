//! Wires the service from its settings, runs it and shuts it down.

mod error;
mod internal_listener;
mod services;

use std::{net::SocketAddr, time::Duration};

use tokio::{
    net::TcpListener,
    sync::watch,
    task,
    time::{self, Instant},
};
use tonic_health::{ServingStatus, server::HealthReporter};

pub use self::error::ServerError;
use self::internal_listener::InternalListener;
use crate::{
    auth::{
        Auth, AuthSettings, Resources,
        sessions::{
            cache::SessionCache,
            freshness::{FollowerGuard, Revocations},
        },
    },
    clock::Clock,
    config::{Config, ResetDelivery},
    db::Db,
    error_chain::with_causes,
    gateway::router::Router,
    http::flask::HttpSettings,
    jobs::Jobs,
    lifecycle::Phase,
    mail::Mailer,
    passwords::Passwords,
    rpc::AUTH_SERVICE,
    transport::{
        connection_limits::ConnectionLimits,
        fd_limit,
        http_server::HttpServer,
        listener::{self, Listener},
    },
};

/// The least time for the background jobs to finish after the requests, which may have used up
/// `shutdown-timeout`: to write the last use of sessions, and to deliver mail.
const JOBS_TIMEOUT: Duration = Duration::from_secs(1);

/// A service with an open database and a bound port, which serves requests once it
/// [`run`](Self::run)s.
pub struct Server {
    listener: TcpListener,
    address: SocketAddr,
    auth: Auth,
    router: Router,
    internal: Option<InternalListener>,
    following: FollowerGuard,
    health: HealthReporter,
    config: Config,
}

impl Server {
    /// Opens the database, migrates it and binds the port.
    ///
    /// # Errors
    ///
    /// The step that failed, with advice.
    pub async fn open(config: &Config, clock: Clock) -> Result<Self, ServerError> {
        let database = config.database.clone();
        let db = task::spawn_blocking(move || {
            Db::open(&database.database_url, database.database_connections)
        })
        .await
        .map_err(|panic| ServerError::Io(panic.into()))??;
        let passwords =
            Passwords::new(config.passwords.hashing())?.with_pepper(config.passwords.pepper());
        let listen_error = |cause| ServerError::Listen {
            address: config.network.listen,
            cause,
        };
        let listener = listener::bind(config.network.listen).map_err(listen_error)?;
        let address = listener.local_addr().map_err(listen_error)?;
        let internal = InternalListener::open(config)?;
        let public_url = config.network.public_url(address.port());
        let delivery = config
            .mail
            .delivery(&config.database.database_url, &public_url.host())
            .map_err(ServerError::Setting)?;
        let mailer = Mailer::new(delivery, clock.clone())?;
        tracing::info!("mail goes to {mailer}");
        let cache = SessionCache::new(config.sessions.session_index_size);
        let (revocations, following) = Revocations::follow(
            db.log_reader(),
            cache.clone(),
            clock.clone(),
            config.sessions.revocation_max_lag,
        )
        .map_err(ServerError::NoThreads)?;
        let connections = config.database.database_connections as usize;
        let settings = AuthSettings {
            password_policy: config.passwords.policy(),
            session_limits: config.sessions.limits(),
            reset_ttl: config.resets.reset_ttl,
            public_url,
            revocation_retention: config.sessions.revocation_retention,
            look_ups_at_once: (connections * 3 / 4).max(1),
        };
        let http = HttpSettings {
            public_url: settings.public_url.clone(),
            session_absolute: settings.session_limits.absolute,
            as_original: config.resets.reset_delivery == ResetDelivery::Response,
            max_form_size: config.limits.max_message_size,
        };
        let resources = Resources {
            db,
            passwords,
            mailer,
            cache,
            revocations,
        };
        let auth = Auth::new(resources, clock, settings);
        if let Err(error) = auth.sample_decoys().await {
            tracing::warn!(
                cause = with_causes(&error),
                "cannot sample the decoys of unknown e-mails from the users yet"
            );
        }
        auth.warn_of_missing_pepper().await;
        let health = HealthReporter::new();
        Ok(Self {
            listener,
            address,
            router: services::public_router(config, auth.clone(), &http, &health).await?,
            internal,
            following,
            auth,
            health,
            config: config.clone(),
        })
    }

    /// The bound address. Port 0 is replaced by the assigned port.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The bound address of the internal listener; `None` if it is off.
    pub fn admin_address(&self) -> Option<SocketAddr> {
        self.internal.as_ref().map(InternalListener::address)
    }

    /// Serves requests until [`Phase::Stopping`]; then accepts no more and finishes those in
    /// progress, within `shutdown-timeout`, and the background jobs.
    pub async fn run(self, phases: watch::Receiver<Phase>) {
        let limits = &self.config.limits;
        let jobs = Jobs::start(&self.auth, self.config.sessions.session_sweep);
        let trusted_proxies = self.config.network.trusted_proxies;
        let budget = fd_limit::connection_budget(
            limits,
            self.config.database.database_connections,
            self.internal.is_some(),
        );
        let connection_limits = ConnectionLimits::new(budget.public, limits)
            .with_trusted_proxies(trusted_proxies.clone())
            .with_eviction();
        let internal = self.internal.map(|internal| {
            // Without eviction, since connections with watch streams are idle for long.
            let connection_limits = ConnectionLimits::new(budget.internal, limits);
            internal.start(self.auth.clone(), connection_limits)
        });
        let mut server = HttpServer::new(self.router, limits, trusted_proxies);
        let listener = Listener::new(self.listener, connection_limits, limits);
        let mut health = self.health;
        let become_unready = async {
            reached(Phase::Unready, phases.clone()).await;
            for service in ["", AUTH_SERVICE] {
                health
                    .set_service_status(service, ServingStatus::NotServing)
                    .await;
            }
        };
        let stopping = reached(Phase::Stopping, phases.clone());
        tokio::join!(server.accept(listener, stopping), become_unready);
        for service in ["", AUTH_SERVICE] {
            // Ends health watch streams, which have no end of their own.
            health.clear_service_status(service).await;
        }
        let deadline = Instant::now() + self.config.network.shutdown_timeout;
        let stop_internal = async {
            match internal {
                Some(internal) => internal.stop(deadline).await,
                None => true,
            }
        };
        let (drained, internal_drained) = tokio::join!(server.drain(deadline), stop_internal);
        if !drained || !internal_drained {
            tracing::warn!("some requests did not finish in time and were cut off");
        }
        let deadline = deadline.max(Instant::now() + JOBS_TIMEOUT);
        if time::timeout_at(deadline, jobs.stop()).await.is_err() {
            tracing::warn!(
                "background jobs did not finish in time and were cut off; a mail in delivery is \
                 sent after the next start"
            );
        }
        drop(self.following);
        tracing::info!("stopped");
    }
}

/// Resolves when a phase is reached, or when the sender is dropped.
async fn reached(phase: Phase, mut phases: watch::Receiver<Phase>) {
    let _ = phases.wait_for(|current| *current >= phase).await;
}
