//! Replies to requests that reach no service.

use axum::{
    extract::Request,
    http::{HeaderValue, header},
    response::Response,
};

use super::protocol::{self, ProtocolError};
use crate::{
    http::replies,
    rpc::{self, status},
};

/// The reply to a request for a gRPC service that fails the protocol check.
pub(crate) fn protocol_error(error: ProtocolError) -> Response {
    let mut response = replies::message(error.status(), error.message());
    if error == ProtocolError::Method {
        response
            .headers_mut()
            .insert(header::ALLOW, HeaderValue::from_static("POST"));
    }
    response
}

/// The reply to an HTTP/1.1 request without exactly one valid `Host`.
pub(crate) fn bad_host() -> Response {
    replies::malformed("send one Host header with the host that the request is for")
}

/// The reply to an unknown path on a port with these gRPC services: a gRPC status for gRPC
/// clients, else 404.
pub(crate) fn not_found(services: &[&str], request: &Request) -> Response {
    if protocol::check(request).is_err() {
        return replies::not_found();
    }
    let message = unknown_service(services, request.uri().path());
    let mut response: Response = status::unimplemented(message).into_http();
    // gRPC-Web clients expect a response of the request's content type.
    if let Some(content_type) = request.headers().get(header::CONTENT_TYPE) {
        response
            .headers_mut()
            .insert(header::CONTENT_TYPE, content_type.clone());
    }
    response
}

/// The error message for a service that this port does not have.
fn unknown_service(services: &[&str], path: &str) -> String {
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
                "{service} is only on the internal listener: call the address of --admin-listen"
            )
        }
        _ => format!(
            "there is no such service on this port; its services are {}",
            services.join(", ")
        ),
    }
}
