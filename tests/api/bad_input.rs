//! Whatever comes in gets its code from the table, and the next request is
//! served as if nothing had happened.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use bienvenue::proto::v1::{
    GetUserBySessionRequest, GetUserBySessionResponse, LoginRequest, LoginResponse, LogoutRequest,
    LogoutResponse, RegisterRequest, RegisterResponse,
};
use prost::Message as _;
use tonic::Code;

use crate::harness::{
    Database, EMAIL, Expect as _, PASSWORD, TestServer, on_each_database,
    raw::{self, Web, frame, framed},
    refused,
    status::violation,
};

const METHODS: [&str; 4] = ["Register", "Login", "GetUserBySession", "Logout"];

/// On the same connection, a session is opened and recognised.
async fn still_serves(server: &TestServer) {
    let login = server.login().await;
    server.client.check(&login.session_id).await.unwrap();
}

on_each_database! {
    /// Missing, empty and over-long fields; controls and NUL.
    async fn fields(database: Database) {
        let server = TestServer::start(&database).await;
        server.register().await;
        let long_local = format!("{}@example.com", "a".repeat(65));
        let long_email = format!("a@{}.com", "b".repeat(250));
        let long_password = "kP3 ".repeat(257);
        for (email, password, field, says) in [
            ("", PASSWORD, "email", "is missing"),
            ("eve", PASSWORD, "email", "one @"),
            ("eve@a@example.com", PASSWORD, "email", "one @"),
            ("eve @example.com", PASSWORD, "email", "before the @"),
            ("eve\0@example.com", PASSWORD, "email", "before the @"),
            ("eve\r\nbcc@example.com", PASSWORD, "email", "before the @"),
            ("\"eve\"@example.com", PASSWORD, "email", "before the @"),
            ("eve@[127.0.0.1]", PASSWORD, "email", "after the @"),
            ("eve@exam\0ple.com", PASSWORD, "email", "after the @"),
            ("eve@example.com\n", PASSWORD, "email", "after the @"),
            (&long_local, PASSWORD, "email", "too long"),
            (&long_email, PASSWORD, "email", "too long"),
            ("eve@example.com", "", "password", "is missing"),
            ("eve@example.com", "seven77", "password", "at least 8 characters"),
            ("eve@example.com", &long_password, "password", "at most 1,024 bytes"),
            ("eve@example.com", "with a \0 inside", "password", "control character"),
            ("eve@example.com", "with a \u{1B}[31m", "password", "control character"),
            ("eve@example.com", "Password1", "password", "everybody tries first"),
            ("eve@example.com", "BIENVENUE", "password", "everybody tries first"),
            ("eve@example.com", "Eve@EXAMPLE.com", "password", "address itself"),
        ] {
            let refusal = server.client.register(email, password).await;
            let details = refusal.expect_refusal(Code::InvalidArgument, "INVALID_FIELD");
            let (named, description) = violation(&details);
            assert_eq!(named, field, "{email:?} {password:?}");
            assert!(description.contains(says), "{description}");
        }
        for (email, password, field) in [
            ("", PASSWORD, "email"),
            ("eve\0@example.com", PASSWORD, "email"),
            (&long_email, PASSWORD, "email"),
            (EMAIL, "", "password"),
        ] {
            let refusal = server.client.login(email, password).await;
            let details = refusal.expect_refusal(Code::InvalidArgument, "INVALID_FIELD");
            assert_eq!(violation(&details).0, field);
        }
        // What cannot be set is compared all the same, and is wrong.
        for password in ["seven77", "with a \0 inside", &long_password, &"x".repeat(15_000)] {
            server
                .client
                .login(EMAIL, password)
                .await
                .expect_refusal(Code::Unauthenticated, "INVALID_CREDENTIALS");
        }
        still_serves(&server).await;
    }

    /// SQL, templates and formats are letters like any other.
    async fn nothing_in_a_field_is_interpreted(database: Database) {
        let server = TestServer::start(&database).await;
        server.register().await;
        for payload in [
            "' OR '1'='1",
            "'; DROP TABLE users; --",
            "{{7*7}}",
            "%n%s%x",
            "$(reboot) `reboot`",
            "<script>alert(1)</script>",
            "\\x00\\u0000",
        ] {
            server
                .client
                .login(EMAIL, payload)
                .await
                .expect_refusal(Code::Unauthenticated, "INVALID_CREDENTIALS");
            server
                .client
                .check(payload)
                .await
                .expect_refusal(Code::Unauthenticated, "SESSION_INVALID");
            let email = format!("{}@example.com", payload.replace([' ', '\\', ';', '(', ')', '<', '>'], "_"));
            let user = server.client.register(&email, payload).await;
            if let Ok(user) = user {
                assert_eq!(user.email, email.to_ascii_lowercase());
                server.client.login(&email, payload).await.unwrap();
            }
        }
        still_serves(&server).await;
    }

    /// A session_id is the one that was given out, byte for byte, or none.
    async fn session_ids(database: Database) {
        let server = TestServer::start(&database).await;
        server.register().await;
        let good = server.login().await.session_id;
        let secret = good.strip_prefix("sess_").unwrap();
        let bytes = URL_SAFE_NO_PAD.decode(secret).unwrap();
        // The last character holds two bits that mean nothing.
        let last = secret.chars().next_back().unwrap();
        let alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
        let twin = alphabet.find(last).map(|at| &alphabet[at + 1..at + 2]).unwrap();
        let recased: String = good.chars().map(|c| if c.is_lowercase() {
            c.to_ascii_uppercase()
        } else {
            c.to_ascii_lowercase()
        }).collect();
        let mut other = bytes.clone();
        other[31] ^= 1;
        let bad = [
            String::new(),
            good[..good.len() - 1].to_owned(),
            good[..good.len() / 2].to_owned(),
            "sess_".to_owned(),
            secret.to_owned(),
            format!("{good}A"),
            format!("{good}="),
            format!("{good}\0"),
            format!("{good}\n"),
            format!(" {good}"),
            recased,
            format!("{}{twin}", &good[..good.len() - 1]),
            format!("sess_{}", URL_SAFE_NO_PAD.encode(&other)),
            format!("sess_{}", base64::engine::general_purpose::STANDARD.encode(&bytes)),
            format!("sess_{}", bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>()),
            format!("rst_{secret}"),
            good.replace('_', "%5F"),
            "A".repeat(10_000),
            "\u{1F511}".repeat(12),
        ];
        for session_id in &bad {
            for refusal in [
                server.client.check(session_id).await.map(drop),
                server.client.logout(session_id).await,
            ] {
                refusal.expect_refusal(Code::Unauthenticated, "SESSION_INVALID");
            }
        }
        server.client.check(&good).await.unwrap();
    }

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
            println!("{what}");
            for method in METHODS {
                let path = format!("/bienvenue.v1.AuthService/{method}");
                let headers = [("content-type", "application/grpc")];
                let response =
                    raw::h2(&server.client.channel, "POST", &path, &headers, body.clone()).await;
                assert_eq!(response.status(), 200);
                refused(&raw::status_of(&response), Code::InvalidArgument, "MALFORMED_REQUEST");
                for web in [Web::Binary, Web::Text] {
                    web.call_raw(server.address, method, body)
                        .await
                        .expect_refusal(Code::InvalidArgument, "MALFORMED_REQUEST");
                }
            }
            still_serves(&server).await;
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
        still_serves(&server).await;
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
        still_serves(&server).await;
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
            assert_eq!(response.text(), r#"{"message":"there is nothing here"}"#);
        }
        let response = raw::http1(server.address, "POST", "/", &[], b"").await;
        assert_eq!((response.status, response.header("allow")), (405, Some("GET, HEAD")));
        still_serves(&server).await;
    }

    /// A damaged or ruinous stored hash lets nobody in, tells nobody that the
    /// account exists, and holds nobody up.
    async fn stored_hashes(database: Database) {
        let server = TestServer::start(&database).await;
        let user = server.register().await;
        server.client.register("bob@example.com", PASSWORD).await.unwrap();
        let good = database.text("SELECT hashed_password FROM users WHERE id = 1");
        let unknown = server.client.login("eve@example.com", PASSWORD).await.unwrap_err();
        for damaged in [
            good.replace("$04$", "$31$"),
            good.replace("$04$", "$17$"),
            good.replace("$04$", "$xx$"),
            good[..40].to_owned(),
            String::new(),
            "correct horse battery".to_owned(),
            "\u{1F511}".repeat(15),
            "$bcrypt-sha256$v=2,t=2b,r=31$n79VH.0Q2TMWmt3Oqt9uku$Kq4Noyk3094Y2QlB8NdRT8SvGiI4ft2".to_owned(),
        ] {
            let sql = format!("UPDATE users SET hashed_password = '{damaged}' WHERE id = {}", user.id);
            assert_eq!(database.execute(&sql), 1);
            let refusal = server.client.login(EMAIL, PASSWORD).await.unwrap_err();
            assert_eq!(refusal.message(), unknown.message());
            assert_eq!(refusal.details(), unknown.details());
            server.client.login("bob@example.com", PASSWORD).await.unwrap();
        }
        database.execute(&format!("UPDATE users SET hashed_password = '{good}' WHERE id = 1"));
        still_serves(&server).await;
    }

    /// The same answers over every transport.
    async fn transports_agree(database: Database) {
        let server = TestServer::start(&database).await;
        let credentials = |email: &str, password: &str| (email.to_owned(), password.to_owned());
        for (n, web) in [Web::Binary, Web::Text].into_iter().enumerate() {
            let email = format!("user{n}@example.com");
            let register = |(email, password)| RegisterRequest { email, password };
            let login = |(email, password)| LoginRequest { email, password };
            let registered: RegisterResponse = web
                .call(server.address, "Register", &register(credentials(&email, PASSWORD)))
                .await
                .unwrap();
            web.call::<RegisterResponse>(server.address, "Register", &register(credentials(&email, PASSWORD)))
                .await
                .expect_refusal(Code::AlreadyExists, "EMAIL_TAKEN");
            let opened: LoginResponse = web
                .call(server.address, "Login", &login(credentials(&email, PASSWORD)))
                .await
                .unwrap();
            assert_eq!(opened.user, registered.user);
            web.call::<LoginResponse>(server.address, "Login", &login(credentials(&email, "wrong")))
                .await
                .expect_refusal(Code::Unauthenticated, "INVALID_CREDENTIALS");
            let session_id = opened.session_id;
            let check = GetUserBySessionRequest { session_id: session_id.clone() };
            let checked: GetUserBySessionResponse =
                web.call(server.address, "GetUserBySession", &check).await.unwrap();
            assert_eq!(checked, server.client.check(&session_id).await.unwrap());
            let logout = LogoutRequest { session_id };
            let _: LogoutResponse = web.call(server.address, "Logout", &logout).await.unwrap();
            web.call::<GetUserBySessionResponse>(server.address, "GetUserBySession", &check)
                .await
                .expect_refusal(Code::Unauthenticated, "SESSION_INVALID");
        }
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
        for round in 0..200 {
            let body = frame(&bytes.new_tree(&mut runner).unwrap().current());
            let path = format!("/bienvenue.v1.AuthService/{}", METHODS[round % METHODS.len()]);
            let headers = [("content-type", "application/grpc")];
            let response = raw::h2(&server.client.channel, "POST", &path, &headers, body).await;
            let code = raw::status_of(&response).code();
            let known = matches!(
                code,
                Code::Ok | Code::InvalidArgument | Code::Unauthenticated | Code::AlreadyExists
            );
            assert!(known, "{code:?}");
        }
        still_serves(&server).await;
    }
}
