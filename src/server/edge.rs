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
    deadline::Deadline,
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

    /// When a request that begins now has to be answered.
    fn deadline(&self, headers: &HeaderMap) -> Deadline {
        // Whoever gives up sooner is not worked for any longer.
        let patience = (self.patience)(headers);
        Deadline::after(patience.map_or(self.timeout, |own| own.min(self.timeout)))
    }
}

/// Holds a request to its limits, and notes its [`Deadline`] in its extensions.
pub(super) async fn limit(
    State(limit): State<Limit>,
    mut request: Request,
    next: Next,
) -> Response {
    let _counted = match request.extensions().get::<Peer>().map(Peer::begin_request) {
        Some(None) => return (limit.connection_full)(),
        counted => counted,
    };
    let deadline = limit.deadline(request.headers());
    request.extensions_mut().insert(deadline);
    match time::timeout_at(deadline.instant().into(), next.run(request)).await {
        Ok(response) => response,
        Err(_) => (limit.too_slow)(),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    #[test]
    fn a_deadline_is_the_smaller_of_the_callers_and_ours() {
        let ours = Duration::from_secs(5);
        for (limit, sent, expected) in [
            (Limit::grpc(ours), None, ours),
            (Limit::grpc(ours), Some("2S"), Duration::from_secs(2)),
            (Limit::grpc(ours), Some("1H"), ours),
            (Limit::grpc(ours), Some("soon"), ours),
            // Whoever sends a form has no way to say.
            (Limit::http(ours), Some("2S"), ours),
        ] {
            let mut headers = HeaderMap::new();
            if let Some(sent) = sent {
                headers.insert("grpc-timeout", HeaderValue::from_static(sent));
            }
            let before = Instant::now();
            let deadline = limit.deadline(&headers);
            assert!(deadline.remaining(before) >= expected, "{sent:?}");
            assert!(deadline.remaining(Instant::now()) <= expected, "{sent:?}");
        }
    }
}
