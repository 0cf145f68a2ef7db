//! What is served to plain HTTP clients, as thin as the RPCs. Every body is
//! JSON with a `message`.

use axum::{
    Router,
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse as _, Response},
    routing::get,
};

/// The routes.
pub fn routes() -> Router {
    Router::new().route("/", get(welcome).fallback(method_not_allowed))
}

async fn welcome() -> Response {
    message(StatusCode::OK, "Bienvenue")
}

async fn method_not_allowed() -> Response {
    let mut response = message(StatusCode::METHOD_NOT_ALLOWED, "only GET is answered here");
    response
        .headers_mut()
        .insert(header::ALLOW, HeaderValue::from_static("GET, HEAD"));
    response
}

/// The answer to a path that nothing is served on.
pub fn not_found() -> Response {
    message(StatusCode::NOT_FOUND, "there is nothing here")
}

/// A reply with a message of our own, which needs no escaping.
pub fn message(status: StatusCode, message: &'static str) -> Response {
    let headers = [
        (header::CONTENT_TYPE, "application/json"),
        (header::CACHE_CONTROL, "no-store"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ];
    let body = format!(r#"{{"message":"{message}"}}"#);
    (status, headers, body).into_response()
}
