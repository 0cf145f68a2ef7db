//! HTTP/1.1: the `Connection` of responses, and the `Host` of requests.

use axum::http::Version;

use crate::harness::{
    Database, TestServer, http1::Http1Connection, on_each_database, raw, requests::Session,
};

const NEXT: &[u8] = b"GET / HTTP/1.1\r\nhost: x\r\n\r\n";

/// Requests that can be refused before their body is read, and their status.
const REFUSED: [(&str, &str, u16); 14] = [
    // A gRPC message that declares too large a length: see `body_of`.
    (
        "POST /bienvenue.v1.AuthService/Login",
        "content-type: application/grpc-web",
        200,
    ),
    (
        "POST /bienvenue.v1.AuthService/Logout",
        "content-type: application/grpc-web-text",
        200,
    ),
    (
        "POST /bienvenue.v1.AuthService/Dance",
        "content-type: application/grpc-web",
        200,
    ),
    (
        "POST /unknown.Service/Method",
        "content-type: application/grpc-web",
        200,
    ),
    (
        "POST /bienvenue.v1.AuthService/Login",
        "content-type: application/grpc",
        505,
    ),
    (
        "POST /bienvenue.v1.AuthService/Login",
        "content-type: text/plain",
        415,
    ),
    (
        "PUT /bienvenue.v1.AuthService/Login",
        "content-type: application/grpc-web",
        405,
    ),
    (
        "OPTIONS /bienvenue.v1.AuthService/Login",
        "origin: https://app.example.com",
        405,
    ),
    ("POST /nothing", "content-type: text/plain", 404),
    ("PUT /users", "content-type: text/plain", 405),
    ("DELETE /sessions", "content-type: text/plain", 403),
    ("GET /profile", "content-type: text/plain", 403),
    ("POST /sessions", "origin: https://evil.example", 403),
    ("POST /users", "content-type: text/plain", 415),
];

/// A body that begins with the header of an oversized gRPC frame.
fn body_of(header: &str, length: usize) -> Vec<u8> {
    let mut body = vec![b'A'; length];
    if !header.ends_with("text") {
        body[..5].copy_from_slice(&[0, 0, 0xFF, 0xFF, 0xFF]);
    }
    body
}

fn request(line: &str, header: &str, body: &[u8], is_chunked: bool) -> Vec<u8> {
    let mut request = format!("{line} HTTP/1.1\r\nhost: x\r\n{header}\r\n").into_bytes();
    if !is_chunked {
        request.extend(format!("content-length: {}\r\n\r\n", body.len()).into_bytes());
        request.extend(body);
        return request;
    }
    request.extend(b"transfer-encoding: chunked\r\n\r\n");
    for chunk in body.chunks(16 * 1024) {
        request.extend(format!("{:x}\r\n", chunk.len()).into_bytes());
        request.extend(chunk);
        request.extend(b"\r\n");
    }
    request.extend(b"0\r\n\r\n");
    request
}

on_each_database! {
    /// A response before the end of the body announces whether the connection closes, so that
    /// no client sends its next request into a closing one.
    async fn an_early_refusal_announces_the_connections_close(database: Database) {
        let server = TestServer::start(&database).await;
        for (line, header, status) in REFUSED {
            for length in [8, 20_000, 300_000, 3_000_000] {
                for is_chunked in [false, true] {
                    let what = format!("{line}, {header}, {length} bytes, chunked: {is_chunked}");
                    let body = body_of(header, length);
                    let connection = Http1Connection::open(server.address).await;
                    let request = request(line, header, &body, is_chunked);
                    let (response, connection) = connection.exchange(request).await;
                    let Some(response) = response else {
                        // Closing a connection with unread bytes may lose the response.
                        assert!(length > 1_000_000, "{what}: no response");
                        continue;
                    };
                    assert_eq!(response.status, status, "{what}");
                    if response.header("connection") == Some("close") {
                        assert!(length > 1_000_000, "{what}: closed after a short body");
                        continue;
                    }
                    let connection = connection.expect("an open connection");
                    let (next, _) = connection.exchange(NEXT.to_vec()).await;
                    let next = next.unwrap_or_else(|| panic!("{what}: closed without notice"));
                    assert_eq!(next.status, 200, "{what}");
                }
            }
        }
    }

    /// A client that awaits `100 Continue` gets the refusal instead, and does not send its body.
    async fn a_refusal_instead_of_100_continue_closes_the_connection(database: Database) {
        let server = TestServer::start(&database).await;
        for (line, header, status) in REFUSED {
            // These read the body before they refuse it.
            if line.starts_with("POST /users") || status == 200 && line.contains("Log") {
                continue;
            }
            let head = format!(
                "{line} HTTP/1.1\r\nhost: x\r\n{header}\r\nexpect: 100-continue\r\n\
                 content-length: 100\r\n\r\n"
            );
            let connection = Http1Connection::open(server.address).await;
            let (response, connection) = connection.exchange(head.into_bytes()).await;
            let response = response.expect("a response");
            assert_eq!(response.status, status, "{line}");
            assert_eq!(response.header("connection"), Some("close"), "{line}");
            assert!(connection.expect("a connection").ends().await, "{line}");
        }
    }

    /// A request read to its end leaves the connection open.
    async fn a_refusal_after_the_body_leaves_the_connection_open(database: Database) {
        let server = TestServer::start(&database).await;
        let mut client = Session::new(server.address);
        for _ in 0..20 {
            for (method, path) in [("POST", "/users"), ("POST", "/nothing"), ("DELETE", "/sessions")] {
                let refused = client.call(method, path).raw_body(b"email=x").await;
                assert!(refused.status_code >= 400, "{refused:?}");
                assert_eq!(refused.header("connection"), None);
            }
        }
        assert_eq!(client.connections, 1);
    }

    /// After a malformed body, the beginning of the next request is unknown.
    async fn a_malformed_body_closes_the_connection(database: Database) {
        let server = TestServer::start(&database).await;
        for (line, header, _) in REFUSED {
            let request = format!(
                "{line} HTTP/1.1\r\nhost: x\r\n{header}\r\ntransfer-encoding: chunked\r\n\r\n\
                 5\r\n\0\0\0\0\u{1}\r\nno length\r\n\r\n"
            );
            let connection = Http1Connection::open(server.address).await;
            let (response, connection) = connection.exchange(request.into_bytes()).await;
            let response = response.expect("a response");
            assert_eq!(response.header("connection"), Some("close"), "{line}: {response:?}");
            assert!(connection.expect("a connection").ends().await, "{line}");
        }
    }

    /// RFC 9112, 3.2: exactly one valid `Host`.
    async fn a_request_without_its_host_is_refused(database: Database) {
        let server = TestServer::start(&database).await;
        let bad = [
            "",
            "host: a\r\nhost: b\r\n",
            "host: a\r\nHost: a\r\n",
            "host: a\r\nx: y\r\nhost: \r\n",
            "host: a b\r\n",
            "host: a,b\r\n",
            "host: a/b\r\n",
            "host: ada@a\r\n",
            "host: a:port\r\n",
            "host: a:80:80\r\n",
            "host: \u{E9}\r\n",
        ];
        let good = [
            "host: a\r\n",
            "HOST:a:80\r\n",
            "host: \r\n",
            "host: 127.0.0.1\r\n",
            "host: [::1]:80\r\n",
            "host: a_b.example\r\n",
        ];
        for (line, header, status) in [
            ("GET /", "", 200),
            ("GET /profile", "", 403),
            ("GET /nothing", "", 404),
            ("GET http://a/", "", 200),
            ("DELETE /sessions", "", 403),
            ("OPTIONS /bienvenue.v1.AuthService/Login", "", 405),
            ("POST /bienvenue.v1.AuthService/Login", "content-type: application/grpc-web\r\n", 200),
        ] {
            for hosts in bad {
                let request = format!("{line} HTTP/1.1\r\n{hosts}{header}\r\n");
                let connection = Http1Connection::open(server.address).await;
                let (response, connection) = connection.exchange(request.into_bytes()).await;
                let response = response.expect("a response");
                assert_eq!(response.status, 400, "{line} {hosts:?}");
                assert_eq!(response.header("connection"), Some("close"), "{line} {hosts:?}");
                assert!(response.text().contains("Host"), "{}", response.text());
                assert!(connection.expect("a connection").ends().await, "{line}");
            }
            for hosts in good {
                let request = format!("{line} HTTP/1.1\r\n{hosts}{header}\r\n");
                let connection = Http1Connection::open(server.address).await;
                let (response, _) = connection.exchange(request.into_bytes()).await;
                let status_code = response.map(|response| response.status);
                assert_eq!(status_code, Some(status), "{line} {hosts:?}");
            }
            // HTTP/1.0 needs no `Host`.
            let request = format!("{line} HTTP/1.0\r\n{header}\r\n");
            let connection = Http1Connection::open(server.address).await;
            let (response, _) = connection.exchange(request.into_bytes()).await;
            let status_code = response.map(|response| response.status);
            assert_eq!(status_code, Some(status), "{line} HTTP/1.0");
        }
        let response = raw::h2(&server.client.channel, "GET", "/", &[], vec![]).await;
        assert_eq!((response.status().as_u16(), response.version()), (200, Version::HTTP_2));
    }
}
