//! The only place that wires: from the settings to a service that answers.

mod internal_listener;

use std::{
    io::{self, ErrorKind},
    net::SocketAddr,
    sync::Arc,
};

use axum::{Router, middleware};
use thiserror::Error;
use tokio::{
    net::TcpListener,
    sync::watch,
    task,
    time::{self, Instant},
};
use tonic_health::{ServingStatus, server::HealthReporter};
use tower_http::catch_panic::CatchPanicLayer;

use self::internal_listener::Admin;
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
    db::{Db, OpenError},
    error_chain::with_causes,
    http::flask::{self, HttpSettings},
    lifecycle::Phase,
    mail::{MailError, Mailer},
    passwords::{Passwords, StartError},
    rpc::{AUTH_SERVICE, AdminTokenError, AuthServer},
};
use crate::{
    gateway::{self, deadlines::Limit, grpc::Grpc, router::Port, services::Services},
    jobs::Jobs,
    transport::{self, connection_limits::Places, http_server::Serving, listener::Listener},
};

const HEALTH_SERVICE: &str = "grpc.health.v1.Health";

/// Why the service cannot start. Each is one line for a person.
#[derive(Debug, Error)]
pub enum ServerError {
    /// The address cannot be listened on.
    #[error(
        "cannot listen on {address}: {cause}; {}",
        listening_advice(cause, "--listen")
    )]
    Listen {
        /// The address that was set.
        address: SocketAddr,
        /// What the operating system said.
        cause: io::Error,
    },
    /// The internal listener's address cannot be listened on.
    #[error(
        "cannot listen on {address}: {cause}; {}",
        listening_advice(cause, "--admin-listen")
    )]
    ListenAdmin {
        /// The address that was set.
        address: SocketAddr,
        /// What the operating system said.
        cause: io::Error,
    },
    /// The internal listener's token cannot be used.
    #[error(transparent)]
    AdminToken(#[from] AdminTokenError),
    /// The database cannot be used.
    #[error(transparent)]
    Database(#[from] OpenError),
    /// There are no secrets without randomness.
    #[error(
        "the operating system gives no randomness ({0}); check that a sandbox does not forbid \
         getrandom"
    )]
    NoRandomness(#[from] getrandom::Error),
    /// There is nothing to hash on.
    #[error("cannot start its threads: {0}; look at the limit on processes, or set --hash-threads")]
    NoThreads(io::Error),
    /// The settings do not go together after all.
    #[error("{0}")]
    Setting(String),
    /// Mail cannot be sent at all.
    #[error("cannot send mail: {0}")]
    Mail(#[from] MailError),
    /// Server reflection has no descriptors to show.
    #[error("cannot serve reflection: {0}")]
    Reflection(#[from] tonic_reflection::server::Error),
    /// The operating system refused something else.
    #[error("cannot start: {0}")]
    Io(#[source] io::Error),
}

/// What to do about an address that cannot be listened on.
fn listening_advice(cause: &io::Error, setting: &str) -> String {
    match cause.kind() {
        ErrorKind::AddrInUse => {
            format!("stop the program that uses it, or choose another with {setting}")
        }
        ErrorKind::AddrNotAvailable => format!(
            "write an address of this machine in {setting}, or 0.0.0.0 or [::] for all of them"
        ),
        ErrorKind::PermissionDenied => format!(
            "choose a port from 1024 up with {setting}, or grant CAP_NET_BIND_SERVICE for a lower \
             one"
        ),
        _ => format!("choose another with {setting}"),
    }
}

impl From<StartError> for ServerError {
    fn from(error: StartError) -> Self {
        match error {
            StartError::NoRandomness(cause) => Self::NoRandomness(cause),
            StartError::NoThreads(cause) => Self::NoThreads(cause),
        }
    }
}

/// A service whose database is open and whose port is bound, and which answers
/// once it [`run`](Self::run)s.
pub struct Server {
    listener: TcpListener,
    address: SocketAddr,
    auth: Auth,
    port: Port,
    admin: Option<Admin>,
    following: FollowerGuard,
    health: HealthReporter,
    config: Config,
}

impl Server {
    /// Opens the database, migrates it and binds the port.
    ///
    /// # Errors
    ///
    /// When any of that cannot be done.
    pub async fn open(config: &Config, clock: Clock) -> Result<Self, ServerError> {
        let database = config.database.clone();
        let db = task::spawn_blocking(move || {
            Db::open(&database.database_url, database.database_connections)
        })
        .await
        .map_err(|panic| ServerError::Io(panic.into()))??;
        let passwords =
            Passwords::new(config.passwords.hashing())?.with_pepper(config.passwords.pepper());
        let refused = |cause| ServerError::Listen {
            address: config.network.listen,
            cause,
        };
        let listener = transport::listener::bind(config.network.listen).map_err(refused)?;
        let address = listener.local_addr().map_err(refused)?;
        let admin = Admin::open(config)?;
        let public_url = config.network.public_url(address.port());
        let mails = config
            .mail
            .delivery(&config.database.database_url, &public_url.host())
            .map_err(ServerError::Setting)?;
        let mailer = Mailer::new(mails, clock.clone())?;
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
                "the decoys of unknown e-mails do not follow the users yet"
            );
        }
        auth.warn_of_missing_pepper().await;
        let health = HealthReporter::new();
        Ok(Self {
            listener,
            address,
            port: port(config, auth.clone(), &http, &health).await?,
            admin,
            following,
            auth,
            health,
            config: config.clone(),
        })
    }

    /// Where it listens, with the port that was picked where 0 was asked for.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where the internal listener listens, if it is on.
    pub fn admin_address(&self) -> Option<SocketAddr> {
        self.admin.as_ref().map(Admin::address)
    }

    /// Answers until the phase is [`Phase::Stopping`]; then takes no new requests and
    /// finishes those under way, within the deadline that is set.
    pub async fn run(self, phases: watch::Receiver<Phase>) {
        let limits = &self.config.limits;
        let jobs = Jobs::start(&self.auth, self.config.sessions.session_sweep);
        let trusted_proxies = self.config.network.trusted_proxies;
        let places = transport::fd_limit::places(limits, self.config.database.database_connections)
            .trusting(trusted_proxies.clone())
            .evicting();
        let admin = self.admin.map(|admin| {
            // Those who watch are idle for long, and stay.
            let places = Places::new(limits.max_connections, limits);
            admin.start(self.auth.clone(), places)
        });
        let mut serving = Serving::new(self.port, limits, trusted_proxies);
        let listener = Listener::new(self.listener, places, limits);
        let mut health = self.health;
        let unready = async {
            reached(Phase::Unready, phases.clone()).await;
            for service in ["", AUTH_SERVICE] {
                health
                    .set_service_status(service, ServingStatus::NotServing)
                    .await;
            }
        };
        let stopping = reached(Phase::Stopping, phases.clone());
        tokio::join!(serving.accept(listener, stopping), unready);
        for service in ["", AUTH_SERVICE] {
            // Ends the streams of those who watch it, which would never end.
            health.clear_service_status(service).await;
        }
        let deadline = Instant::now() + self.config.network.shutdown_timeout;
        let admin = async {
            match admin {
                Some(admin) => admin.stop(deadline).await,
                None => true,
            }
        };
        let (drained, admin_drained) = tokio::join!(serving.drain(deadline), admin);
        if !drained || !admin_drained {
            tracing::warn!("some requests did not finish in time and were cut off");
        }
        if time::timeout_at(deadline, jobs.stop()).await.is_err() {
            tracing::warn!("mail that was being sent was cut off; it is sent after the next start");
        }
        drop(self.following);
        tracing::info!("stopped");
    }
}

/// Resolves when a phase is reached, or when its sender is gone.
async fn reached(phase: Phase, mut phases: watch::Receiver<Phase>) {
    let _ = phases.wait_for(|current| *current >= phase).await;
}

/// Everything on the one port.
async fn port(
    config: &Config,
    auth: Auth,
    http: &HttpSettings,
    health: &HealthReporter,
) -> Result<Port, ServerError> {
    let services = services(config, auth.clone(), health).await?;
    let timeout = config.limits.request_timeout;
    let origins = &config.network.cors_origin;
    let cors =
        (!origins.is_empty()).then(|| gateway::cors::layer(origins, &config.network.cors_header));
    let as_original = http.as_original;
    let http = flask::routes(auth, http)
        .route_layer(CatchPanicLayer::custom(flask::panicked))
        .route_layer(middleware::from_fn_with_state(
            Arc::new(Limit::http(timeout)),
            gateway::deadlines::limit,
        ));
    let port = Port::new(Grpc::new(services, timeout).with_cors(cors), http);
    if !as_original {
        return Ok(port);
    }
    // Around the router, which adds `Allow` last.
    let layer = middleware::from_fn(flask::as_original);
    Ok(port.with_http(|http| Router::new().fallback_service(http).layer(layer)))
}

async fn services(
    config: &Config,
    auth: Auth,
    health: &HealthReporter,
) -> Result<Services, ServerError> {
    let limit = config.limits.max_message_size;
    health.set_serving::<AuthServer>().await;
    let health = tonic_health::server::HealthService::from_health_reporter(health.clone());
    let health = tonic_health::pb::health_server::HealthServer::new(health);
    let services = Services::default()
        .with(AuthServer::new(auth, limit))
        .with(health.max_decoding_message_size(limit));
    if config.network.reflects(config.network.listen) {
        let shown = [AUTH_SERVICE, HEALTH_SERVICE];
        Ok(gateway::reflection::add(services, &shown, limit)?)
    } else {
        Ok(services)
    }
}
