//! The service of the generated code, with two methods for native callers that are encoded
//! without generated messages.

use std::{
    convert::Infallible,
    sync::Arc,
    task::{Context, Poll},
};

use axum::http;
use hyper::body::Incoming;
use prost::Message;
use tonic::{
    body::Body,
    codegen::BoxFuture,
    server::{Grpc, NamedService, UnaryService},
};
use tower::Service;

use super::{AuthRpc, checks::NativeChecks};
use crate::{
    auth::Auth,
    proto::v1::{GetUserBySessionRequest, auth_service_server::AuthServiceServer},
    rpc::{
        encoding::{
            session_ids::SessionIds,
            session_replies::{Reply, ReplyCodec},
        },
        methods,
    },
};

/// `bienvenue.v1.AuthService`. All but two methods are generated.
#[derive(Clone)]
pub struct AuthServer {
    auth: Arc<Auth>,
    generated: AuthServiceServer<AuthRpc>,
    max_message_size: usize,
}

impl AuthServer {
    /// Serves these rules, and reads messages of at most `max_message_size` bytes.
    pub fn new(auth: Auth, max_message_size: usize) -> Self {
        let generated = AuthServiceServer::new(AuthRpc::new(auth.clone()));
        Self {
            auth: Arc::new(auth),
            generated: generated.max_decoding_message_size(max_message_size),
            max_message_size,
        }
    }
}

impl NamedService for AuthServer {
    const NAME: &'static str = <AuthServiceServer<AuthRpc> as NamedService>::NAME;
}

impl Service<http::Request<Incoming>> for AuthServer {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<Self::Response, Infallible>;

    fn poll_ready(&mut self, _context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Incoming>) -> Self::Future {
        let checks = NativeChecks(Arc::clone(&self.auth));
        match request.uri().path() {
            methods::CHECK => self.reply::<GetUserBySessionRequest, _>(checks, request),
            methods::BATCH_CHECK => self.reply::<SessionIds, _>(checks, request),
            path if methods::is_known(path) => self.generated.call(request),
            _ => unknown_method(),
        }
    }
}

impl AuthServer {
    fn reply<Q, C>(
        &self,
        checks: C,
        request: http::Request<Incoming>,
    ) -> BoxFuture<http::Response<Body>, Infallible>
    where
        Q: Message + Default + 'static,
        C: UnaryService<Q, Response: Reply, Future: Send> + Send + 'static,
    {
        let codec = ReplyCodec::default();
        let mut grpc =
            Grpc::new(codec).apply_max_message_size_config(Some(self.max_message_size), None);
        Box::pin(async move { Ok(grpc.unary(checks, request).await) })
    }
}

/// Calls from browsers are rare, so they use the generated messages.
impl Service<http::Request<Body>> for AuthServer {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<Self::Response, Infallible>;

    fn poll_ready(&mut self, _context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        match methods::is_known(request.uri().path()) {
            true => self.generated.call(request),
            false => unknown_method(),
        }
    }
}

fn unknown_method() -> BoxFuture<http::Response<Body>, Infallible> {
    let response = methods::unknown(AuthServer::NAME).into_http();
    Box::pin(async { Ok(response) })
}
