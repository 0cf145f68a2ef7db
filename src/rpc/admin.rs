//! `bienvenue.v1.AdminService`, on the internal listener.

pub(crate) mod authentication;
mod watch_revocations;

use std::{
    convert::Infallible,
    sync::Arc,
    task::{Context, Poll},
};

use axum::http;
use tokio::sync::{Semaphore, watch};
use tonic::{Request, Response, Status, body::Body, codegen::BoxFuture, server::NamedService};
use tower::Service;

use self::{
    authentication::AdminToken,
    watch_revocations::{MAX_WATCHERS, RevocationStream},
};
use super::{methods, status};
use crate::{
    auth::Auth,
    proto::v1::{
        WatchRevocationsRequest,
        admin_service_server::{AdminService, AdminServiceServer},
    },
};

/// `bienvenue.v1.AdminService` behind the check of its token, which covers every method and
/// precedes the reading of the request.
#[derive(Clone)]
pub struct AdminServer {
    token: AdminToken,
    generated: AdminServiceServer<AdminRpc>,
}

impl AdminServer {
    /// Serves callers with this token until `stop` changes, and reads messages of at most
    /// `max_message_size` bytes.
    pub fn new(
        auth: Auth,
        token: AdminToken,
        max_message_size: usize,
        stop: watch::Receiver<()>,
    ) -> Self {
        let rpc = AdminRpc {
            auth,
            watchers: Arc::new(Semaphore::new(MAX_WATCHERS)),
            stop,
        };
        Self {
            token,
            generated: AdminServiceServer::new(rpc).max_decoding_message_size(max_message_size),
        }
    }
}

impl NamedService for AdminServer {
    const NAME: &'static str = <AdminServiceServer<AdminRpc> as NamedService>::NAME;
}

impl<B> Service<http::Request<B>> for AdminServer
where
    AdminServiceServer<AdminRpc>: Service<
            http::Request<B>,
            Response = http::Response<Body>,
            Error = Infallible,
            Future = BoxFuture<http::Response<Body>, Infallible>,
        >,
{
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<Self::Response, Infallible>;

    fn poll_ready(&mut self, _context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<B>) -> Self::Future {
        let refusal = if !self.token.is_in(request.headers()) {
            status::admin_token_invalid()
        } else if methods::is_known(request.uri().path()) {
            return self.generated.call(request);
        } else {
            methods::unknown(Self::NAME)
        };
        Box::pin(async { Ok(refusal.into_http()) })
    }
}

/// The methods, for callers with a valid token.
struct AdminRpc {
    auth: Auth,
    watchers: Arc<Semaphore>,
    /// Changes when the service is about to stop.
    stop: watch::Receiver<()>,
}

#[tonic::async_trait]
impl AdminService for AdminRpc {
    type WatchRevocationsStream = RevocationStream;

    async fn watch_revocations(
        &self,
        request: Request<WatchRevocationsRequest>,
    ) -> Result<Response<RevocationStream>, Status> {
        let permit = Arc::clone(&self.watchers).try_acquire_owned();
        let permit = permit.map_err(|_| status::too_many_watchers())?;
        watch_revocations::watch_revocations(&self.auth, request, permit, self.stop.clone()).await
    }
}
