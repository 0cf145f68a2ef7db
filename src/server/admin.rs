//! The internal listener: for your own services, apart from the public one.

use std::{io, net::SocketAddr, time::Duration};

use axum::{Router, middleware};
use tokio::{
    net::TcpListener,
    sync::{oneshot, watch},
    task::JoinHandle,
    time::Instant,
};
use tonic::service::Routes;
use tonic_web::GrpcWebLayer;
use tower_http::catch_panic::CatchPanicLayer;

use super::{
    ServerError,
    edge::{self, Limit},
    listener::{self, Listener},
    places::Places,
    request_log,
    serve::Serving,
};
use crate::{
    auth::Auth,
    config::{Config, LimitSettings},
    proto::v1::admin_service_server::AdminServiceServer,
    rpc::{AdminRpc, AdminToken, status},
};

/// Who is told of revocations stays: a connection is found dead by its pings, not
/// by its age.
const MAX_CONNECTION_AGE: Duration = Duration::from_secs(365 * 24 * 3_600);

/// An internal listener whose port is bound.
pub(super) struct Admin {
    listener: TcpListener,
    address: SocketAddr,
    router: Router,
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
            router: router(rpc, &limits),
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
        let mut serving = Serving::new(self.router, &self.limits, Vec::new());
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

fn router(rpc: AdminRpc, limits: &LimitSettings) -> Router {
    let service = AdminServiceServer::new(rpc).max_decoding_message_size(limits.max_message_size);
    Routes::new(service)
        .into_axum_router()
        .reset_fallback()
        .route_layer(CatchPanicLayer::custom(status::panicked))
        .route_layer(middleware::map_response(async |response| {
            status::complete(response)
        }))
        .route_layer(middleware::from_fn_with_state(
            Limit::grpc(limits.request_timeout),
            edge::limit,
        ))
        .route_layer(GrpcWebLayer::new())
        .route_layer(middleware::from_fn(edge::admit))
        .fallback(edge::unclaimed)
        .layer(middleware::from_fn(request_log::observe))
}
