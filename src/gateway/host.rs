//! Validates the `Host` of an HTTP/1.1 request.

use axum::http::{HeaderValue, Request, header, uri::Authority};

/// Whether a request has exactly one `Host`: empty, or a host with an optional port (RFC 9112,
/// 3.2). With two, a proxy in front of the service could route by the other one.
pub(crate) fn is_valid<B>(request: &Request<B>) -> bool {
    let mut hosts = request.headers().get_all(header::HOST).iter();
    match (hosts.next(), hosts.next()) {
        (Some(host), None) => is_host(host),
        _ => false,
    }
}

fn is_host(value: &HeaderValue) -> bool {
    let bytes = value.as_bytes();
    if bytes.is_empty() {
        return true;
    }
    // An authority may have a user, a `Host` may not; a list is invalid in both.
    if bytes.contains(&b'@') || bytes.contains(&b',') {
        return false;
    }
    Authority::try_from(bytes).is_ok_and(|authority| {
        let port = authority.as_str().strip_prefix(authority.host());
        matches!(port, Some("" | ":")) || authority.port_u16().is_some()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_one_valid_host_is_accepted() {
        let is_accepted = |hosts: &[&str]| {
            let mut request = Request::new(());
            for host in hosts {
                let value = HeaderValue::from_str(host).unwrap();
                request.headers_mut().append(header::HOST, value);
            }
            is_valid(&request)
        };
        for host in [
            "",
            "localhost",
            "a.example:",
            "A.example:50051",
            "a_b.example",
            "127.0.0.1:1",
            "[::1]",
            "[::1]:80",
            "xn--bcher-kva.example",
        ] {
            assert!(is_accepted(&[host]), "{host}");
        }
        for host in [
            "a b",
            "a/b",
            "a,b",
            "a?b",
            "a#b",
            "ada@a",
            "ada:x@a:80",
            "@a",
            "a:port",
            "a:99999",
            "a:80:80",
            ":80:",
            "[::1",
            "b\u{FC}cher.example",
        ] {
            assert!(!is_accepted(&[host]), "{host}");
        }
        for hosts in [&[][..], &["a", "a"], &["a", "b"], &["", ""]] {
            assert!(!is_accepted(hosts), "{hosts:?}");
        }
    }
}
