//! Whom an HTTP/1.1 request is for.

use axum::http::{HeaderValue, Request, header, uri::Authority};

/// Whether a request has exactly one `Host`, with a host and perhaps a port in it or
/// nothing at all: RFC 9112, 3.2, for HTTP/1.1. What is in front of this service and
/// chooses by another of two hosts would not mean the same request.
pub(crate) fn is_named_once<B>(request: &Request<B>) -> bool {
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
    // A user is part of an authority, and of no host; a list is neither.
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
    fn what_is_a_host() {
        let is_named_once = |hosts: &[&str]| {
            let mut request = Request::new(());
            for host in hosts {
                let value = HeaderValue::from_str(host).unwrap();
                request.headers_mut().append(header::HOST, value);
            }
            is_named_once(&request)
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
            assert!(is_named_once(&[host]), "{host}");
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
            assert!(!is_named_once(&[host]), "{host}");
        }
        for hosts in [&[][..], &["a", "a"], &["a", "b"], &["", ""]] {
            assert!(!is_named_once(hosts), "{hosts:?}");
        }
    }
}
