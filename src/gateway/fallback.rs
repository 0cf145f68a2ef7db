//! The plain answers to requests that reach no service.

use axum::{
    extract::Request,
    http::{HeaderValue, header},
    response::Response,
};

use super::protocol::{self, ProtocolError};
use crate::{
    http::flask,
    rpc::{self, status},
};

/// The answer to a request for a gRPC service that is no call.
pub(crate) fn refused(refusal: ProtocolError) -> Response {
    let mut response = flask::message(refusal.status(), refusal.message());
    if refusal == ProtocolError::Method {
        response
            .headers_mut()
            .insert(header::ALLOW, HeaderValue::from_static("POST"));
    }
    response
}

/// The answer to an HTTP/1.1 request that does not say in one way whom it is for.
pub(crate) fn bad_host() -> Response {
    flask::malformed("send one Host header with the host that the request is for")
}

/// The answer to a path that nothing is served on, where there are these gRPC services: a
/// gRPC status for a gRPC client, 404 for anyone else.
pub(crate) fn not_found(services: &[&str], request: &Request) -> Response {
    if protocol::check(request).is_err() {
        return flask::not_found();
    }
    let message = unserved(services, request.uri().path());
    let mut response: Response = status::unimplemented(message).into_http();
    // gRPC-Web clients expect their own content type back.
    if let Some(asked) = request.headers().get(header::CONTENT_TYPE) {
        response
            .headers_mut()
            .insert(header::CONTENT_TYPE, asked.clone());
    }
    response
}

/// The words for the path of a service that this port does not have.
fn unserved(services: &[&str], path: &str) -> String {
    let service = path.split('/').nth(1).unwrap_or_default();
    if service.starts_with("grpc.reflection.") {
        return "server reflection is off: give the client the files in proto/ (grpcurl \
                -import-path proto -proto bienvenue/v1/auth_service.proto), or start the service \
                with --reflection=on"
            .to_owned();
    }
    match service {
        rpc::AUTH_SERVICE => {
            format!("{service} is not on the internal listener: call the address of --listen")
        }
        rpc::ADMIN_SERVICE => {
            format!(
                "{service} is on the internal listener alone: call the address of --admin-listen"
            )
        }
        _ => format!(
            "there is no such service on this port; it has {}, by these very names",
            services.join(", ")
        ),
    }
}
