//! Routes the requests of one port to gRPC services and HTTP routes.

use std::sync::Arc;

use axum::{
    BoxError,
    body::HttpBody,
    extract,
    http::{HeaderValue, Method, Request, Response, Version, header},
};
use bytes::Bytes;
use hyper::body::Incoming;
use tonic::body::Body;
use tower::Service as _;

use super::{
    caller_evidence, fallback,
    grpc::Grpc,
    host,
    observe::{ObservedFuture, RequestRecord, log_quota::LogQuotas},
    protocol::{self, GrpcProtocol, ProtocolError},
    response_future::ResponseFuture,
    unread_body,
};
use crate::transport::request_handler::{CallerEvidence, RequestHandler};

/// The gRPC services and HTTP routes of one port.
pub(crate) struct Router {
    grpc: Grpc,
    http: axum::Router,
    log_quotas: Arc<LogQuotas>,
}

impl Router {
    /// Unknown paths get the reply of [`fallback`].
    pub(crate) fn new(grpc: Grpc, http: axum::Router) -> Self {
        let names = grpc.names();
        let not_found = move |request: extract::Request| {
            let response = fallback::not_found(&names, &request);
            async { response }
        };
        Self {
            grpc,
            http: http.fallback(not_found),
            log_quotas: Arc::default(),
        }
    }

    /// Wraps the HTTP routes and the fallback in a layer.
    pub(crate) fn with_http(self, wrap: impl FnOnce(axum::Router) -> axum::Router) -> Self {
        Self {
            http: wrap(self.http),
            ..self
        }
    }

    /// Handles a request, and observes it.
    fn handle_observed(
        self: &Arc<Self>,
        mut request: Request<Incoming>,
    ) -> ObservedFuture<ResponseFuture> {
        let record = RequestRecord::new(&mut request, &self.log_quotas);
        let protocol = protocol::check(&request);
        let response = if protocol == Ok(GrpcProtocol::Native) {
            self.call(request)
        } else {
            let router = Arc::clone(self);
            ResponseFuture::other(async move { Ok(router.handle_other(protocol, request).await) })
        };
        record.observe(response)
    }

    /// Handles a native gRPC call. The future does not hold the request, so it stays small and
    /// cheap to spawn.
    fn call(&self, request: Request<Incoming>) -> ResponseFuture {
        match self.grpc.of_path(request.uri().path()) {
            Some(service) => self.grpc.handle(service, request),
            None => self.http(request),
        }
    }

    /// Handles any other request. Over HTTP/1.1, the response waits for the end of the request
    /// body, or closes the connection.
    async fn handle_other(
        &self,
        protocol: Result<GrpcProtocol, ProtocolError>,
        request: Request<Incoming>,
    ) -> Response<Body> {
        let is_host_valid = request.version() != Version::HTTP_11 || host::is_valid(&request);
        let expects_continue = unread_body::expects_continue(request.headers());
        let (request, remaining) = unread_body::track(request);
        let response = if !is_host_valid {
            drop(request);
            ResponseFuture::ready(fallback::bad_host().map(Body::new))
        } else if let Some(service) = self.grpc.of_path(request.uri().path()) {
            self.grpc.handle_other(service, protocol, request)
        } else {
            self.http(request)
        };
        let mut response = response.await;
        let is_at_end = match remaining {
            Some(remaining) => remaining.discard(expects_continue).await,
            None => true,
        };
        if !is_host_valid || !is_at_end {
            let close = HeaderValue::from_static("close");
            response.headers_mut().insert(header::CONNECTION, close);
        }
        response
    }

    fn http<B>(&self, request: Request<B>) -> ResponseFuture
    where
        B: HttpBody<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        let response = self.http.clone().call(request);
        ResponseFuture::other(async { response.await.map(|response| response.map(Body::new)) })
    }
}

impl RequestHandler for Router {
    type Response = ObservedFuture<ResponseFuture>;

    fn handle(self: &Arc<Self>, request: Request<Incoming>) -> Self::Response {
        self.handle_observed(request)
    }

    fn evidence(&self, method: &Method, path: &str) -> CallerEvidence {
        caller_evidence::of(method, path)
    }
}
