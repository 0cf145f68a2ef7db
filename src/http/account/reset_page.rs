//! `GET /reset_password`: the page behind the link in the mail.

use std::sync::LazyLock;

use axum::{
    http::{HeaderValue, header},
    response::{IntoResponse as _, Response},
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use sha2::{Digest as _, Sha256};

/// A constant page. Its script reads the parameters of the link.
const PAGE: &str = include_str!("reset_page.html");

/// The content security policy of the page: its own script and style, requests to its own
/// service, and no framing (CSP level 3).
static POLICY: LazyLock<HeaderValue> = LazyLock::new(|| {
    let policy = format!(
        "default-src 'none'; script-src {}; style-src {}; connect-src 'self'; form-action 'none'; \
         base-uri 'none'; frame-ancestors 'none'",
        source_of("script"),
        source_of("style"),
    );
    HeaderValue::try_from(policy).expect("a header in ASCII")
});

/// Serves the page.
pub(in crate::http) async fn show() -> Response {
    let headers = [
        (
            header::CONTENT_TYPE,
            HeaderValue::from_static("text/html; charset=utf-8"),
        ),
        (header::CONTENT_SECURITY_POLICY, POLICY.clone()),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
        (
            header::X_CONTENT_TYPE_OPTIONS,
            HeaderValue::from_static("nosniff"),
        ),
        (
            header::REFERRER_POLICY,
            HeaderValue::from_static("no-referrer"),
        ),
    ];
    (headers, PAGE).into_response()
}

/// The source expression for the page's only element of this kind: the hash of its text.
fn source_of(element: &str) -> String {
    let (_, rest) = PAGE
        .split_once(&format!("<{element}>"))
        .expect("the element");
    let (text, _) = rest.split_once(&format!("</{element}>")).expect("its end");
    format!("'sha256-{}'", STANDARD.encode(Sha256::digest(text)))
}
