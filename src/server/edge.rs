//! Who gets in, and how much they may ask.

use std::time::Duration;

use axum::{
    extract::{Request, State},
    http::{HeaderValue, header},
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

/// Holds a gRPC request to its time and its connection to its share of work,
/// and gives what tonic refuses the words of our own table.
pub(super) async fn limit(
    State(timeout): State<Duration>,
    request: Request,
    next: Next,
) -> Response {
    let _counted = match request.extensions().get::<Peer>().map(Peer::begin_request) {
        Some(None) => return status::connection_full().into_http(),
        counted => counted,
    };
    // Whoever gives up sooner is not worked for any longer.
    let timeout = gate::timeout(request.headers()).map_or(timeout, |own| own.min(timeout));
    match time::timeout(timeout, next.run(request)).await {
        Ok(response) => status::complete(response),
        Err(_) => status::too_slow().into_http(),
    }
}
