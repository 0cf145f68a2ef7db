//! Who gets in, and how much they may ask.

use std::time::Duration;

use axum::{
    extract::{Request, State},
    http::{HeaderMap, HeaderValue, header},
    middleware::Next,
    response::Response,
};
use tokio::time;

use crate::{
    http,
    peer::Peer,
    rpc::{
        gate::{self, Refusal},
        status,
    },
};

/// Lets a request for a gRPC service in, or answers it with plain HTTP.
pub(super) async fn admit(request: Request, next: Next) -> Response {
    match gate::check(&request) {
        Ok(()) => next.run(request).await,
        Err(refusal) => {
            let mut response = http::message(refusal.status(), refusal.message());
            if refusal == Refusal::Method {
                response
                    .headers_mut()
                    .insert(header::ALLOW, HeaderValue::from_static("POST"));
            }
            response
        }
    }
}

/// The answer to a path that nothing is served on: a gRPC status for a gRPC
/// client, 404 for anyone else.
pub(super) async fn unclaimed(request: Request) -> Response {
    if gate::check(&request).is_err() {
        return http::not_found();
    }
    let mut response: Response = status::unimplemented().into_http();
    // gRPC-Web clients expect their own content type back.
    if let Some(asked) = request.headers().get(header::CONTENT_TYPE) {
        response
            .headers_mut()
            .insert(header::CONTENT_TYPE, asked.clone());
    }
    response
}

/// How requests of one protocol are held to their time and their connection to
/// its share of work, and how they are told.
#[derive(Clone, Copy)]
pub(super) struct Limit {
    timeout: Duration,
    /// How long the caller itself waits, if it says.
    patience: fn(&HeaderMap) -> Option<Duration>,
    connection_full: fn() -> Response,
    too_slow: fn() -> Response,
}

impl Limit {
    pub(super) fn grpc(timeout: Duration) -> Self {
        Self {
            timeout,
            patience: gate::timeout,
            connection_full: || status::connection_full().into_http(),
            too_slow: || status::too_slow().into_http(),
        }
    }

    pub(super) fn http(timeout: Duration) -> Self {
        Self {
            timeout,
            patience: |_| None,
            connection_full: http::connection_full,
            too_slow: http::too_slow,
        }
    }
}

/// Holds a request to its limits.
pub(super) async fn limit(State(limit): State<Limit>, request: Request, next: Next) -> Response {
    let _counted = match request.extensions().get::<Peer>().map(Peer::begin_request) {
        Some(None) => return (limit.connection_full)(),
        counted => counted,
    };
    // Whoever gives up sooner is not worked for any longer.
    let patience = (limit.patience)(request.headers());
    let timeout = patience.map_or(limit.timeout, |own| own.min(limit.timeout));
    match time::timeout(timeout, next.run(request)).await {
        Ok(response) => response,
        Err(_) => (limit.too_slow)(),
    }
}
