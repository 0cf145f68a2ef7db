//! Protection against cross-site requests.

use std::sync::Arc;

use axum::{
    extract::{Request, State},
    http::{HeaderMap, HeaderName, header},
    middleware::Next,
    response::{IntoResponse as _, Response},
};

use super::HttpState;
use crate::{error_code::ErrorCode, http::replies::ErrorReply};

const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// Admits requests with a safe method, and others unless another site's page sent them.
pub(crate) async fn admit(
    State(state): State<Arc<HttpState>>,
    request: Request,
    next: Next,
) -> Response {
    if request.method().is_safe() || is_own(request.headers(), &state.origin) {
        return next.run(request).await;
    }
    ErrorReply::new(
        ErrorCode::CrossSite,
        "the request comes from another site; if this is the service's own page, set public-url \
         to the address in its address bar",
    )
    .into_response()
}

/// Browsers state the origin of a request in these headers, which pages cannot set. Other
/// programs send neither.
fn is_own(headers: &HeaderMap, origin: &str) -> bool {
    is_absent_or(headers, &SEC_FETCH_SITE, &["same-origin", "none"])
        && is_absent_or(headers, &header::ORIGIN, &[origin])
}

/// A repeated header does not count as absent or valid.
fn is_absent_or(headers: &HeaderMap, name: &HeaderName, good: &[&str]) -> bool {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (None, _) => true,
        (Some(value), None) => good.iter().any(|good| value == good),
        (Some(_), Some(_)) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cross_site_requests_are_recognised() {
        const OWN: &str = "https://example.com:8443";
        for (headers, verdict) in [
            (&[][..], true),
            (&[("origin", OWN)], true),
            (&[("sec-fetch-site", "same-origin")], true),
            (&[("sec-fetch-site", "none")], true),
            (&[("sec-fetch-site", "same-origin"), ("origin", OWN)], true),
            (&[("sec-fetch-site", "same-site")], false),
            (&[("sec-fetch-site", "cross-site")], false),
            (&[("sec-fetch-site", "cross-site"), ("origin", OWN)], false),
            (&[("sec-fetch-site", "Same-Origin")], false),
            (&[("sec-fetch-site", "")], false),
            (
                &[("sec-fetch-site", "none"), ("sec-fetch-site", "none")],
                false,
            ),
            (&[("origin", "null")], false),
            (&[("origin", "")], false),
            (&[("origin", "https://example.com")], false),
            (&[("origin", "http://example.com:8443")], false),
            (&[("origin", "https://example.com:8443/")], false),
            (&[("origin", "https://EXAMPLE.com:8443")], false),
            (
                &[("origin", "https://example.com:8443.evil.example")],
                false,
            ),
            (&[("origin", OWN), ("origin", OWN)], false),
            (
                &[("sec-fetch-site", "same-origin"), ("origin", "null")],
                false,
            ),
        ] {
            let mut map = HeaderMap::new();
            for (name, value) in headers {
                map.append(*name, value.parse().unwrap());
            }
            assert_eq!(is_own(&map, OWN), verdict, "{headers:?}");
        }
    }
}
