//! The internal listener: for your own services, apart from the public one.

use std::{io, net::SocketAddr, time::Duration};

use axum::Router;
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
    rpc::{ADMIN_SERVICE, AdminServer, AdminToken},
};
use crate::{
    gateway::{grpc::Grpc, reflection, router::Port, services::Services},
    transport::{
        connection_limits::Places,
        http_server::Serving,
        listener::{self, Listener},
    },
};

/// Who is told of revocations stays: a connection is found dead by its pings, not
/// by its age.
const MAX_CONNECTION_AGE: Duration = Duration::from_secs(365 * 24 * 3_600);

/// An internal listener whose port is bound.
pub(crate) struct Admin {
    listener: TcpListener,
    address: SocketAddr,
    token: AdminToken,
    reflection: Services,
    limits: LimitSettings,
}

/// An internal listener that answers.
pub(crate) struct Running {
    stop: oneshot::Sender<()>,
    stop_streams: watch::Sender<()>,
    serving: JoinHandle<Serving>,
}

impl Admin {
    /// Reads the token and binds the port; `None` when it is off.
    pub(crate) fn open(config: &Config) -> Result<Option<Self>, ServerError> {
        let Some((listen, token_file)) = config.admin.listener() else {
            return Ok(None);
        };
        let token = AdminToken::read(token_file)?;
        let refused = |cause: io::Error| ServerError::ListenAdmin {
            address: listen,
            cause,
        };
        let listener = listener::bind(listen).map_err(refused)?;
        let address = listener.local_addr().map_err(refused)?;
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
            token,
            reflection,
            limits,
        }))
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Answers until it is stopped.
    pub(crate) fn start(self, auth: Auth, places: Places) -> Running {
        let (stop, stopped) = oneshot::channel();
        let stop_streams = watch::Sender::new(());
        let service = AdminServer::new(
            auth,
            self.token,
            self.limits.max_message_size,
            stop_streams.subscribe(),
        );
        let grpc = Grpc::new(self.reflection.with(service), self.limits.request_timeout);
        let port = Port::new(grpc, Router::new());
        let listener = Listener::new(self.listener, places, &self.limits);
        let mut serving = Serving::new(port, &self.limits, Vec::new());
        Running {
            stop,
            stop_streams,
            serving: tokio::spawn(async move {
                let stopped = async {
                    let _ = stopped.await;
                };
                serving.accept(listener, stopped).await;
                serving
            }),
        }
    }
}

impl Running {
    /// Ends the streams and what else is under way; `false` when something was cut
    /// off.
    pub(crate) async fn stop(self, deadline: Instant) -> bool {
        let _ = self.stop.send(());
        let _ = self.stop_streams.send(());
        match self.serving.await {
            Ok(serving) => serving.drain(deadline).await,
            Err(_) => false,
        }
    }
}
