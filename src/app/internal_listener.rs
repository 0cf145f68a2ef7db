//! The internal listener, for your own services, on an address separate from the public one.

use std::{io, net::SocketAddr, time::Duration};

use tokio::{
    net::TcpListener,
    sync::{oneshot, watch},
    task::JoinHandle,
    time::Instant,
};

use super::ServerError;
use crate::{
    auth::Auth,
    config::{Config, LimitSettings},
    gateway::{grpc::Grpc, reflection, router::Router, services::Services},
    rpc::{ADMIN_SERVICE, AdminServer, AdminToken},
    transport::{
        connection_limits::ConnectionLimits,
        http_server::HttpServer,
        listener::{self, Listener},
    },
};

/// Effectively no limit, since watch streams are long-lived: dead connections are detected by
/// keepalive pings.
const MAX_CONNECTION_AGE: Duration = Duration::from_secs(365 * 24 * 3_600);

/// A bound internal listener.
pub(crate) struct InternalListener {
    listener: TcpListener,
    address: SocketAddr,
    token: AdminToken,
    reflection: Services,
    limits: LimitSettings,
}

/// A running internal listener.
pub(crate) struct RunningListener {
    stop: oneshot::Sender<()>,
    stop_streams: watch::Sender<()>,
    server: JoinHandle<HttpServer<Router>>,
}

impl InternalListener {
    /// Binds the port; `None` if the internal listener is off.
    pub(crate) fn open(config: &Config) -> Result<Option<Self>, ServerError> {
        let Some((listen, token_digest)) = config.admin.listener() else {
            return Ok(None);
        };
        let listen_error = |cause: io::Error| ServerError::ListenAdmin {
            address: listen,
            cause,
        };
        let listener = listener::bind(listen).map_err(listen_error)?;
        let address = listener.local_addr().map_err(listen_error)?;
        let limits = LimitSettings {
            max_connection_age: MAX_CONNECTION_AGE,
            ..config.limits.clone()
        };
        let mut reflection = Services::default();
        if config.network.reflects(listen) {
            reflection = reflection::add(reflection, &[ADMIN_SERVICE], limits.max_message_size)?;
        }
        Ok(Some(Self {
            listener,
            address,
            token: AdminToken::new(token_digest),
            reflection,
            limits,
        }))
    }

    /// The bound address.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves requests on a task of its own until stopped.
    pub(crate) fn start(self, auth: Auth, connection_limits: ConnectionLimits) -> RunningListener {
        let (stop, stopped) = oneshot::channel();
        let stop_streams = watch::Sender::new(());
        let service = AdminServer::new(
            auth,
            self.token,
            self.limits.max_message_size,
            stop_streams.subscribe(),
        );
        let grpc = Grpc::new(self.reflection.with(service), self.limits.request_timeout);
        let router = Router::new(grpc, axum::Router::new());
        let listener = Listener::new(self.listener, connection_limits, &self.limits);
        let mut server = HttpServer::new(router, &self.limits, Vec::new());
        RunningListener {
            stop,
            stop_streams,
            server: tokio::spawn(async move {
                let stopped = async {
                    let _ = stopped.await;
                };
                server.accept(listener, stopped).await;
                server
            }),
        }
    }
}

impl RunningListener {
    /// Ends the streams and finishes the requests in progress; `false` if some were cut off at
    /// the deadline.
    pub(crate) async fn stop(self, deadline: Instant) -> bool {
        let _ = self.stop.send(());
        let _ = self.stop_streams.send(());
        match self.server.await {
            Ok(server) => server.drain(deadline).await,
            Err(_) => false,
        }
    }
}
