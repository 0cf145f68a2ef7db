//! Requests that another site's page makes a browser send.

use std::sync::Arc;

use axum::{
    extract::{Request, State},
    http::{HeaderMap, HeaderName, header},
    middleware::Next,
    response::{IntoResponse as _, Response},
};

use super::{Site, replies::Refusal};
use crate::error_code::ErrorCode;

const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// Lets a request in that changes nothing, or that no other site's page sent.
pub(crate) async fn admit(State(site): State<Arc<Site>>, request: Request, next: Next) -> Response {
    if request.method().is_safe() || is_own(request.headers(), &site.origin) {
        return next.run(request).await;
    }
    Refusal::new(
        ErrorCode::CrossSite,
        "the request comes from another site; if this is the service's own page, set public-url \
         to the address in its address bar",
    )
    .into_response()
}

/// Browsers say where a request comes from in these headers, which a page
/// cannot set; programs that are no browsers send neither.
fn is_own(headers: &HeaderMap, origin: &str) -> bool {
    is_absent_or(headers, &SEC_FETCH_SITE, &["same-origin", "none"])
        && is_absent_or(headers, &header::ORIGIN, &[origin])
}

/// A header that is there twice is neither.
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
    fn what_comes_from_another_site() {
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
