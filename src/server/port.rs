//! Everything that is served on one port.

use std::sync::Arc;

use axum::{Router, http::Request};
use hyper::body::Incoming;
use tonic::body::Body;
use tower::Service as _;

use super::{
    answering::Answering,
    edge,
    grpc::Grpc,
    log_quota::LogQuota,
    request_log::{Observed, Record},
};
use crate::rpc::gate::{self, Dialect, Refusal};

/// gRPC services, and plain HTTP beside them.
pub(super) struct Port {
    grpc: Grpc,
    http: Router,
    log_quota: Arc<LogQuota>,
}

impl Port {
    /// Plain HTTP may be an empty router.
    pub(super) fn new(grpc: Grpc, http: Router) -> Self {
        Self {
            grpc,
            http: http.fallback(edge::unclaimed),
            log_quota: Arc::default(),
        }
    }

    /// The answer to a request, and its line in the log.
    pub(super) fn answer(self: &Arc<Self>, request: Request<Incoming>) -> Observed<Answering> {
        let record = Record::new(&request, &self.log_quota);
        let gate = gate::check(&request);
        let answering = if gate == Ok(Dialect::Native) {
            self.begin(gate, request)
        } else {
            // What is refused is let go of no sooner than somebody waits for its
            // answer: hyper would close an HTTP/1.1 connection.
            let port = Arc::clone(self);
            Answering::other(async move { Ok(port.begin(gate, request).await) })
        };
        record.observe(answering)
    }

    /// Nothing that waits holds a request itself: what is spawned for it stays small,
    /// and so it is cheap to make and to move.
    fn begin(&self, gate: Result<Dialect, Refusal>, request: Request<Incoming>) -> Answering {
        if let Some(service) = self.grpc.of_path(request.uri().path()) {
            return self.grpc.answer(service, gate, request);
        }
        let answer = self.http.clone().call(request);
        Answering::other(async { answer.await.map(|response| response.map(Body::new)) })
    }
}
