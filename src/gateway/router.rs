//! Everything that is served on one port.

use std::sync::Arc;

use axum::{
    BoxError, Router,
    body::HttpBody,
    extract,
    http::{HeaderValue, Request, Response, Version, header},
};
use bytes::Bytes;
use hyper::body::Incoming;
use tonic::body::Body;
use tower::Service as _;

use super::protocol::{self, Dialect, Refusal};
use super::{
    fallback,
    grpc::Grpc,
    host,
    observe::{Observed, Record, log_quota::LogQuotas},
    response_future::Answering,
    unread_body,
};

/// gRPC services, and plain HTTP beside them.
pub(crate) struct Port {
    grpc: Grpc,
    http: Router,
    log_quotas: Arc<LogQuotas>,
}

impl Port {
    /// Plain HTTP may be an empty router.
    pub(crate) fn new(grpc: Grpc, http: Router) -> Self {
        let names = grpc.names();
        let unclaimed = move |request: extract::Request| {
            let response = fallback::unclaimed(&names, &request);
            async { response }
        };
        Self {
            grpc,
            http: http.fallback(unclaimed),
            log_quotas: Arc::default(),
        }
    }

    /// The same with something around whatever is answered beside gRPC.
    pub(crate) fn with_http(self, wrap: impl FnOnce(Router) -> Router) -> Self {
        Self {
            http: wrap(self.http),
            ..self
        }
    }

    /// The answer to a request, and its line in the log.
    pub(crate) fn answer(self: &Arc<Self>, request: Request<Incoming>) -> Observed<Answering> {
        let record = Record::new(&request, &self.log_quotas);
        let gate = protocol::check(&request);
        let answering = if gate == Ok(Dialect::Native) {
            self.call(request)
        } else {
            let port = Arc::clone(self);
            Answering::other(async move { Ok(port.translate(gate, request).await) })
        };
        record.observe(answering)
    }

    /// Nothing that waits holds a request itself: what is spawned for it stays small,
    /// and so it is cheap to make and to move.
    fn call(&self, request: Request<Incoming>) -> Answering {
        match self.grpc.of_path(request.uri().path()) {
            Some(service) => self.grpc.answer(service, request),
            None => self.http(request),
        }
    }

    /// The answer to what is no native call. Over HTTP/1.1 it comes when the request's
    /// body has ended, or says that the connection does.
    async fn translate(
        &self,
        gate: Result<Dialect, Refusal>,
        request: Request<Incoming>,
    ) -> Response<Body> {
        let is_named = request.version() != Version::HTTP_11 || host::is_named_once(&request);
        let is_awaited = unread_body::is_awaited(request.headers());
        let (request, rest) = unread_body::follow(request);
        let answering = if !is_named {
            drop(request);
            Answering::ready(fallback::unnamed().map(Body::new))
        } else if let Some(service) = self.grpc.of_path(request.uri().path()) {
            self.grpc.answer_translated(service, gate, request)
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

    fn http<B>(&self, request: Request<B>) -> Answering
    where
        B: HttpBody<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        let answer = self.http.clone().call(request);
        Answering::other(async { answer.await.map(|response| response.map(Body::new)) })
    }
}
