//! The heads of the Flask service's replies, for clients that depend on them.

use axum::{
    extract::Request,
    http::{
        HeaderValue, Method, StatusCode, Version,
        header::{ALLOW, CONTENT_TYPE},
    },
    middleware::Next,
    response::{IntoResponse as _, Response},
};
use hyper::ext::ReasonPhrase;

/// Writes reason phrases in upper case, as Werkzeug does, and answers OPTIONS with the
/// allowed methods, as Flask does. HTTP/2 has no reason phrases.
pub async fn as_original(request: Request, next: Next) -> Response {
    let is_http1 = request.version() < Version::HTTP_2;
    let is_options = request.method() == Method::OPTIONS;
    let mut response = next.run(request).await;
    if response.status() == StatusCode::METHOD_NOT_ALLOWED {
        response = with_options(response, is_options);
    }
    let reason = response.status().canonical_reason().unwrap_or_default();
    if is_http1 && let Ok(reason) = ReasonPhrase::try_from(reason.to_ascii_uppercase()) {
        response.extensions_mut().insert(reason);
    }
    response
}

/// Adds OPTIONS to the allowed methods of a refusal, or turns it into the reply to OPTIONS.
fn with_options(mut refusal: Response, is_asked_for: bool) -> Response {
    let allowed = refusal.headers().get(ALLOW).map(HeaderValue::as_bytes);
    let allowed = [allowed.unwrap_or_default(), b",OPTIONS"].concat();
    let Ok(allowed) = HeaderValue::from_bytes(&allowed) else {
        return refusal;
    };
    if is_asked_for {
        let content_type = HeaderValue::from_static("text/html; charset=utf-8");
        return [(ALLOW, allowed), (CONTENT_TYPE, content_type)].into_response();
    }
    refusal.headers_mut().insert(ALLOW, allowed);
    refusal
}
