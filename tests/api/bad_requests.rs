//! Bytes that are no request, over each transport: each gets its code from the
//! table, and the next request is served as if nothing had happened.

use bienvenue::{
    proto::v1::{LoginRequest, LogoutRequest},
    rpc::{AUTH_SERVICE, methods},
};
use prost::Message as _;
use tonic::Code;

use crate::harness::{
    Database, EMAIL, Expect as _, PASSWORD, TestServer, on_each_database,
    raw::{self, Web, frame, framed},
    refused,
};

on_each_database! {
    /// Bytes that are no request of the method, over each transport.
    async fn malformed_messages(database: Database) {
        let server = TestServer::start(&database).await;
        server.register().await;
        let whole = framed(&LoginRequest { email: EMAIL.into(), password: PASSWORD.into() });
        let mut length_lies = whole.clone();
        length_lies[4] += 9;
        let mut trailing_garbage = whole.clone();
        trailing_garbage.extend([0, 0, 0, 0, 9, 1]);
        let mut bad_flag = whole.clone();
        bad_flag[0] = 7;
        let bodies: Vec<(&str, Vec<u8>)> = vec![
            ("nothing", vec![]),
            ("half a frame head", whole[..3].to_vec()),
            ("half a message", whole[..whole.len() / 2].to_vec()),
            ("a length that lies", length_lies),
            ("garbage after the message", trailing_garbage),
            ("a flag that does not exist", bad_flag),
            ("garbage", frame(&[0xFF; 32])),
            ("a field cut short", frame(&[0x0A, 0x20, b'a'])),
            ("a wrong wire type", frame(&[0x08, 0x01])),
            ("invalid UTF-8", frame(&[0x0A, 0x02, 0xC3, 0x28])),
            ("a length beyond all bounds", [&[0, 0xFF, 0xFF, 0xFF, 0xFF], &[0_u8; 64][..]].concat()),
            ("over 16 KiB", framed(&LoginRequest {
                email: EMAIL.into(),
                password: "x".repeat(16 * 1024),
            })),
        ];
        for (what, body) in &bodies {
            for method in methods::of_service(AUTH_SERVICE) {
                let headers = [("content-type", "application/grpc")];
                let response =
                    raw::h2(&server.client.channel, "POST", method.path, &headers, body.clone()).await;
                assert_eq!(response.status(), 200, "{what}");
                refused(&raw::status_of(&response), Code::InvalidArgument, "MALFORMED_REQUEST");
                for web in [Web::Binary, Web::Text] {
                    web.call_raw(server.address, method.name, body)
                        .await
                        .expect_refusal(Code::InvalidArgument, "MALFORMED_REQUEST");
                }
            }
            server.still_serves().await;
        }
        // base64 that is none.
        let response = raw::http1(
            server.address,
            "POST",
            "/bienvenue.v1.AuthService/Login",
            &[("content-type", "application/grpc-web-text"), ("accept", "application/grpc-web-text")],
            b"!!!!not base64!!!!",
        ).await;
        assert_eq!(response.header("grpc-status"), Some("3"), "{response:?}");
        server.still_serves().await;
    }

    /// A compressed message is not taken, so that no bomb is.
    async fn compressed_messages(database: Database) {
        let server = TestServer::start(&database).await;
        server.register().await;
        let mut body = framed(&LoginRequest { email: EMAIL.into(), password: PASSWORD.into() });
        let path = "/bienvenue.v1.AuthService/Login";
        let headers = [("content-type", "application/grpc"), ("grpc-encoding", "gzip")];
        let response = raw::h2(&server.client.channel, "POST", path, &headers, body.clone()).await;
        refused(&raw::status_of(&response), Code::Unimplemented, "UNIMPLEMENTED");
        body[0] = 1;
        let response = raw::h2(&server.client.channel, "POST", path, &headers[..1], body).await;
        refused(&raw::status_of(&response), Code::InvalidArgument, "MALFORMED_REQUEST");
        server.still_serves().await;
    }

    /// tonic would run a handler for these; the gate does not.
    async fn wrong_methods_and_content_types(database: Database) {
        let server = TestServer::start(&database).await;
        server.register().await;
        let session_id = server.login().await.session_id;
        let body = framed(&LogoutRequest { session_id: session_id.clone() });
        let path = "/bienvenue.v1.AuthService/Logout";
        for (method, content_type, status) in [
            ("GET", Some("application/grpc"), 405),
            ("PUT", Some("application/grpc"), 405),
            ("DELETE", Some("application/grpc"), 405),
            ("OPTIONS", None, 405),
            ("TRACE", Some("application/grpc"), 405),
            ("POST", None, 415),
            ("POST", Some("text/plain"), 415),
            ("POST", Some("application/json"), 415),
            ("POST", Some("application/x-www-form-urlencoded"), 415),
            ("POST", Some("multipart/form-data"), 415),
            ("POST", Some("application/grpc+json"), 415),
        ] {
            let headers: Vec<_> = content_type.map(|value| ("content-type", value)).into_iter().collect();
            let response = raw::h2(&server.client.channel, method, path, &headers, body.clone()).await;
            assert_eq!(response.status(), status, "{method} {content_type:?}");
            assert_eq!(response.headers()["content-type"], "application/json");
            assert!(raw::text_of(response).await.starts_with(r#"{"message":"this is a gRPC"#));
            let response = raw::http1(server.address, method, path, &headers, &body).await;
            assert_eq!(response.status, status, "{method} {content_type:?}");
            if status == 405 {
                assert_eq!(response.header("allow"), Some("POST"));
            }
        }
        let native = [("content-type", "application/grpc")];
        let response = raw::http1(server.address, "POST", path, &native, &body).await;
        assert_eq!(response.status, 505);
        server.client.check(&session_id).await.expect("nobody logged out");
    }

    /// What is not there.
    async fn unknown_methods_and_paths(database: Database) {
        let server = TestServer::start(&database).await;
        server.register().await;
        for path in [
            "/bienvenue.v1.AuthService/Dance",
            "/bienvenue.v1.AuthService/login",
            "/bienvenue.v2.AuthService/Login",
            "/nobody.Service/Method",
            "/",
        ] {
            for content_type in ["application/grpc", "application/grpc-web+proto"] {
                let headers = [("content-type", content_type)];
                let response = raw::h2(&server.client.channel, "POST", path, &headers, frame(&[])).await;
                if path == "/" {
                    assert_eq!(response.status(), 405);
                    continue;
                }
                assert_eq!(response.headers()["content-type"], content_type, "{path}");
                refused(&raw::status_of(&response), Code::Unimplemented, "UNIMPLEMENTED");
            }
        }
        for path in ["/nothing", "/.git/HEAD", "//", "/..;/", "/bienvenue.v2.AuthService/Login", "/%00"] {
            let response = raw::http1(server.address, "GET", path, &[], b"").await;
            assert_eq!(response.status, 404, "{path}");
            assert_eq!(response.header("content-type"), Some("application/json"));
            assert_eq!(response.text(), "{\"message\":\"there is nothing here\"}\n");
        }
        let response = raw::http1(server.address, "POST", "/", &[], b"").await;
        assert_eq!((response.status, response.header("allow")), (405, Some("GET,HEAD")));
        server.still_serves().await;
    }

    /// Random bytes never find a crack: no INTERNAL, no silence.
    async fn noise(database: Database) {
        use proptest::{prelude::*, strategy::ValueTree as _, test_runner::TestRunner};
        let server = TestServer::start(&database).await;
        server.register().await;
        let login = LoginRequest { email: EMAIL.into(), password: PASSWORD.into() }.encode_to_vec();
        // Random bytes, and a request with one byte changed.
        let bytes = prop_oneof![
            proptest::collection::vec(any::<u8>(), 0..64),
            (0..login.len(), any::<u8>()).prop_map(move |(at, with)| {
                let mut changed = login.clone();
                changed[at] = with;
                changed
            }),
        ];
        let mut runner = TestRunner::deterministic();
        let paths: Vec<&str> =
            methods::of_service(AUTH_SERVICE).map(|method| method.path).collect();
        for round in 0..200 {
            let body = frame(&bytes.new_tree(&mut runner).unwrap().current());
            let path = paths[round % paths.len()];
            let headers = [("content-type", "application/grpc")];
            let response = raw::h2(&server.client.channel, "POST", path, &headers, body).await;
            let code = raw::status_of(&response).code();
            let known = matches!(
                code,
                Code::Ok | Code::InvalidArgument | Code::Unauthenticated | Code::AlreadyExists
            );
            assert!(known, "{code:?}");
        }
        server.still_serves().await;
    }
}
