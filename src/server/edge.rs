//! The plain answers to requests that reach no service.

use axum::{
    extract::Request,
    http::{HeaderValue, header},
    response::Response,
};

use crate::{
    http,
    rpc::{
        gate::{self, Refusal},
        status,
    },
};

/// The answer to a request for a gRPC service that is no call.
pub(super) fn refused(refusal: Refusal) -> Response {
    let mut response = http::message(refusal.status(), refusal.message());
    if refusal == Refusal::Method {
        response
            .headers_mut()
            .insert(header::ALLOW, HeaderValue::from_static("POST"));
    }
    response
}

/// The answer to an HTTP/1.1 request that does not say in one way whom it is for.
pub(super) fn unnamed() -> Response {
    http::malformed("send one Host header with the host that the request is for")
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
