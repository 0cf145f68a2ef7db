//! HTTP/1.1: what a response says of its connection, and which host was asked for.

use axum::http::Version;

use crate::harness::{
    Database, TestServer, http1::Http1Connection, on_each_database, raw, requests::Session,
};

const NEXT: &[u8] = b"GET / HTTP/1.1\r\nhost: x\r\n\r\n";

/// Requests that can be refused before their body is read, and what they get.
const REFUSED: [(&str, &str, u16); 14] = [
    // A gRPC message that is too large by its own account: see `body_of`.
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
        "POST /nobody.Service/Method",
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

/// A body that begins with the head of a gRPC frame that is too large.
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
    /// A connection that is going to be closed says so, so that no client sends its next
    /// request into it.
    async fn a_refusal_before_the_body_says_whether_the_connection_goes_on(database: Database) {
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
                        // A connection that is closed on unread bytes may lose the answer.
                        assert!(length > 1_000_000, "{what}: no response");
                        continue;
                    };
                    assert_eq!(response.status, status, "{what}");
                    if response.header("connection") == Some("close") {
                        assert!(length > 1_000_000, "{what}: it could have been read");
                        continue;
                    }
                    let connection = connection.expect("a connection that goes on");
                    let (next, _) = connection.exchange(NEXT.to_vec()).await;
                    let next = next.unwrap_or_else(|| panic!("{what}: closed without a word"));
                    assert_eq!(next.status, 200, "{what}");
                }
            }
        }
    }

    /// A client that waits for `100 Continue` before it sends its body is told that it
    /// need not.
    async fn a_refusal_instead_of_100_continue_closes(database: Database) {
        let server = TestServer::start(&database).await;
        for (line, header, status) in REFUSED {
            // These are refused for what is in their body, or read it first.
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

    /// What was read to its end leaves the connection open, whatever came of it.
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

    /// Where a body goes wrong, the next request cannot be found.
    async fn a_body_that_is_broken_closes(database: Database) {
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

    /// RFC 9112, 3.2: exactly one `Host`, with a host in it.
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
            // As before.
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
