//! Everything that is served on one port.

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

/// gRPC services, and plain HTTP beside them.
pub(crate) struct Router {
    grpc: Grpc,
    http: axum::Router,
    log_quotas: Arc<LogQuotas>,
}

impl Router {
    /// Plain HTTP may be an empty router.
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

    /// The same with something around whatever is answered beside gRPC.
    pub(crate) fn with_http(self, wrap: impl FnOnce(axum::Router) -> axum::Router) -> Self {
        Self {
            http: wrap(self.http),
            ..self
        }
    }

    /// The answer to a request, and its line in the log.
    fn answer(self: &Arc<Self>, request: Request<Incoming>) -> ObservedFuture<ResponseFuture> {
        let record = RequestRecord::new(&request, &self.log_quotas);
        let protocol = protocol::check(&request);
        let answering = if protocol == Ok(GrpcProtocol::Native) {
            self.call(request)
        } else {
            let port = Arc::clone(self);
            ResponseFuture::other(async move { Ok(port.translate(protocol, request).await) })
        };
        record.observe(answering)
    }

    /// Nothing that waits holds a request itself: what is spawned for it stays small,
    /// and so it is cheap to make and to move.
    fn call(&self, request: Request<Incoming>) -> ResponseFuture {
        match self.grpc.of_path(request.uri().path()) {
            Some(service) => self.grpc.answer(service, request),
            None => self.http(request),
        }
    }

    /// The answer to what is no native call. Over HTTP/1.1 it comes when the request's
    /// body has ended, or says that the connection does.
    async fn translate(
        &self,
        protocol: Result<GrpcProtocol, ProtocolError>,
        request: Request<Incoming>,
    ) -> Response<Body> {
        let is_named = request.version() != Version::HTTP_11 || host::is_named_once(&request);
        let is_awaited = unread_body::is_awaited(request.headers());
        let (request, rest) = unread_body::follow(request);
        let answering = if !is_named {
            drop(request);
            ResponseFuture::ready(fallback::bad_host().map(Body::new))
        } else if let Some(service) = self.grpc.of_path(request.uri().path()) {
            self.grpc.answer_translated(service, protocol, request)
        } else {
            self.http(request)
        };
        let mut response = answering.await;
        let is_at_end = match rest {
            Some(rest) => rest.discard(is_awaited).await,
            None => true,
        };
        if !is_named || !is_at_end {
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
        let answer = self.http.clone().call(request);
        ResponseFuture::other(async { answer.await.map(|response| response.map(Body::new)) })
    }
}

impl RequestHandler for Router {
    type Response = ObservedFuture<ResponseFuture>;

    fn handle(self: &Arc<Self>, request: Request<Incoming>) -> Self::Response {
        self.answer(request)
    }

    fn evidence(&self, method: &Method, path: &str) -> CallerEvidence {
        caller_evidence::of(method, path)
    }
}
