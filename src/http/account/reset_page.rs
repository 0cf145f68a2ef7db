//! `GET /reset_password`: the page that the link in the mail leads to.

use std::sync::Arc;

use axum::{
    extract::State,
    http::{HeaderValue, header},
    response::{IntoResponse as _, Response},
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use sha2::{Digest as _, Sha256};

use crate::http::flask::Site;

/// The same for everybody: what the link says is read by the page itself.
const PAGE: &str = include_str!("reset_page.html");

/// The page's policy: its own script and style, its own service, and nothing
/// else, framed by nobody (CSP level 3).
pub(in crate::http) fn policy() -> HeaderValue {
    let policy = format!(
        "default-src 'none'; script-src {}; style-src {}; connect-src 'self'; form-action 'none'; \
         base-uri 'none'; frame-ancestors 'none'",
        source_of("script"),
        source_of("style"),
    );
    HeaderValue::try_from(policy).expect("a header in ASCII")
}

/// Shows it.
pub(in crate::http) async fn show(State(site): State<Arc<Site>>) -> Response {
    let headers = [
        (
            header::CONTENT_TYPE,
            HeaderValue::from_static("text/html; charset=utf-8"),
        ),
        (
            header::CONTENT_SECURITY_POLICY,
            site.reset_page_policy.clone(),
        ),
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

/// What names the page's one element of this kind in the policy: the hash of
/// its text.
fn source_of(element: &str) -> String {
    let (_, rest) = PAGE
        .split_once(&format!("<{element}>"))
        .expect("the element");
    let (text, _) = rest.split_once(&format!("</{element}>")).expect("its end");
    format!("'sha256-{}'", STANDARD.encode(Sha256::digest(text)))
}
