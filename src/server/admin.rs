//! The internal listener: for your own services, apart from the public one.

use std::{io, net::SocketAddr, time::Duration};

use axum::Router;
use tokio::{
    net::TcpListener,
    sync::{oneshot, watch},
    task::JoinHandle,
    time::Instant,
};
use tonic::server::NamedService;

use super::{
    ServerError,
    grpc::Grpc,
    listener::{self, Listener},
    places::Places,
    port::Port,
    reflection,
    serve::Serving,
    services::Services,
};
use crate::{
    auth::Auth,
    config::{Config, LimitSettings},
    proto::v1::admin_service_server::AdminServiceServer,
    rpc::{AdminRpc, AdminToken},
};

/// Who is told of revocations stays: a connection is found dead by its pings, not
/// by its age.
const MAX_CONNECTION_AGE: Duration = Duration::from_secs(365 * 24 * 3_600);

/// An internal listener whose port is bound.
pub(super) struct Admin {
    listener: TcpListener,
    address: SocketAddr,
    port: Port,
    limits: LimitSettings,
    stop_streams: watch::Sender<()>,
}

/// An internal listener that answers.
pub(super) struct Running {
    stop: oneshot::Sender<()>,
    stop_streams: watch::Sender<()>,
    serving: JoinHandle<Serving>,
}

impl Admin {
    /// Reads the token and binds the port; `None` when it is off.
    pub(super) fn open(config: &Config, auth: &Auth) -> Result<Option<Self>, ServerError> {
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
        let stop_streams = watch::Sender::new(());
        let rpc = AdminRpc::new(auth.clone(), token, stop_streams.subscribe());
        Ok(Some(Self {
            listener,
            address,
            port: port(rpc, config)?,
            limits,
            stop_streams,
        }))
    }

    /// Where it listens.
    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Answers until it is stopped.
    pub(super) fn start(self, places: Places) -> Running {
        let (stop, stopped) = oneshot::channel();
        let listener = Listener::new(self.listener, places, &self.limits);
        let mut serving = Serving::new(self.port, &self.limits, Vec::new());
        Running {
            stop,
            stop_streams: self.stop_streams,
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
    pub(super) async fn stop(self, deadline: Instant) -> bool {
        let _ = self.stop.send(());
        let _ = self.stop_streams.send(());
        match self.serving.await {
            Ok(serving) => serving.drain(deadline).await,
            Err(_) => false,
        }
    }
}

fn port(rpc: AdminRpc, config: &Config) -> Result<Port, ServerError> {
    let limits = &config.limits;
    let service = AdminServiceServer::new(rpc).max_decoding_message_size(limits.max_message_size);
    let mut services = Services::default().with(service);
    if let Some((listen, _)) = config.admin.listener()
        && config.network.reflects(listen)
    {
        let name = <AdminServiceServer<AdminRpc> as NamedService>::NAME;
        services = reflection::add(services, &[name], limits.max_message_size)?;
    }
    let grpc = Grpc::new(services, limits.request_timeout);
    Ok(Port::new(grpc, Router::new()))
}
