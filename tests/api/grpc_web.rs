//! Browsers: gRPC-Web and its allowed origins.

use bienvenue::proto::v1::{
    ChangePasswordRequest, ChangePasswordResponse, GetUserBySessionRequest,
    GetUserBySessionResponse, ListSessionsRequest, ListSessionsResponse, LoginRequest,
    LoginResponse, LogoutRequest, LogoutResponse, RegisterRequest, RegisterResponse,
    RequestPasswordResetRequest, RequestPasswordResetResponse, ResetPasswordRequest,
    ResetPasswordResponse, RevokeOtherSessionsRequest, RevokeOtherSessionsResponse,
    RevokeSessionRequest, RevokeSessionResponse,
};
use tonic::Code;

use crate::harness::{
    Database, EMAIL, Expect as _, NEW_PASSWORD, PASSWORD, TestServer, on_each_database,
    raw::{self, Web, framed},
    requests::form,
};

const APP: &str = "https://app.example.com";
const LOGIN: &str = "/bienvenue.v1.AuthService/Login";

/// The headers that a preflight allows.
async fn allowed_headers(server: &TestServer, origin: &str) -> Vec<String> {
    let preflight = [
        ("origin", origin),
        ("access-control-request-method", "POST"),
        ("access-control-request-headers", "baggage,traceparent"),
    ];
    let response = raw::http1(server.address, "OPTIONS", LOGIN, &preflight, b"").await;
    let allowed = response.header("access-control-allow-headers").unwrap();
    let names = allowed
        .split(',')
        .map(|name| name.trim().to_ascii_lowercase());
    names.collect()
}

on_each_database! {
    /// A call of an allowed page, from preflight to reply.
    async fn an_allowed_page_calls(database: Database) {
        let settings = ["--cors-origin", APP, "--cors-origin=http://localhost:3000"];
        let server = TestServer::start_with(&database, &settings).await;
        server.register().await;
        for origin in [APP, "http://localhost:3000"] {
            let preflight = [
                ("origin", origin),
                ("access-control-request-method", "POST"),
                ("access-control-request-headers", "content-type,x-grpc-web"),
            ];
            let response = raw::http1(server.address, "OPTIONS", LOGIN, &preflight, b"").await;
            assert_eq!(response.status, 200);
            assert_eq!(response.header("access-control-allow-origin"), Some(origin));
            assert_eq!(response.header("access-control-allow-methods"), Some("POST"));
            assert_eq!(response.header("access-control-allow-credentials"), None);
            let allowed = response.header("access-control-allow-headers").unwrap();
            assert!(allowed.contains("content-type") && allowed.contains("x-grpc-web"), "{allowed}");

            let body = framed(&LoginRequest { email: EMAIL.into(), password: PASSWORD.into() });
            let headers = [("origin", origin), ("content-type", "application/grpc-web+proto")];
            let response = raw::http1(server.address, "POST", LOGIN, &headers, &body).await;
            assert_eq!(response.status, 200);
            assert_eq!(response.header("access-control-allow-origin"), Some(origin));
            assert!(response.header("vary").unwrap().contains("origin"));
            let exposed = response.header("access-control-expose-headers").unwrap();
            assert!(exposed.contains("grpc-status") && exposed.contains("grpc-message"), "{exposed}");
        }
    }

    /// Headers added by tracing, Connect and interceptors.
    async fn a_page_may_send_the_headers_of_libraries(database: Database) {
        let settings = ["--cors-origin", APP, "--cors-header=X-Tenant,x-build"];
        let server = TestServer::start_with(&database, &settings).await;
        let allowed = allowed_headers(&server, APP).await;
        for name in [
            "traceparent",
            "tracestate",
            "baggage",
            "b3",
            "x-b3-traceid",
            "x-b3-spanid",
            "x-b3-parentspanid",
            "x-b3-sampled",
            "x-b3-flags",
            "uber-trace-id",
            "x-amzn-trace-id",
            "sentry-trace",
            "x-datadog-trace-id",
            "connect-protocol-version",
            "connect-timeout-ms",
            "grpc-timeout",
            "x-grpc-web",
            "x-user-agent",
            "content-type",
            "authorization",
            "x-request-id",
            // From the setting.
            "x-tenant",
            "x-build",
        ] {
            assert!(allowed.iter().any(|own| own == name), "{name}: {allowed:?}");
        }
        assert!(!allowed.iter().any(|name| name == "*" || name == "cookie"), "{allowed:?}");
        server.stop().await;
        let server = TestServer::start_with(&database, &["--cors-origin", APP]).await;
        let allowed = allowed_headers(&server, APP).await;
        assert!(!allowed.iter().any(|name| name == "x-tenant"), "{allowed:?}");
    }

    /// Other origins get no CORS headers.
    async fn other_origins_are_not_allowed(database: Database) {
        let server = TestServer::start_with(&database, &["--cors-origin", APP]).await;
        for origin in [
            "https://evil.example",
            "null",
            "https://app.example.com.evil.example",
            "https://evil-app.example.com",
            "http://app.example.com",
            "https://APP.example.com",
            "https://app.example.com:8443",
        ] {
            let preflight = [("origin", origin), ("access-control-request-method", "POST")];
            let response = raw::http1(server.address, "OPTIONS", LOGIN, &preflight, b"").await;
            assert_eq!(response.header("access-control-allow-origin"), None, "{origin}");
        }
        // Without the setting, CORS is off.
        server.stop().await;
        let server = TestServer::start(&database).await;
        let preflight = [("origin", APP), ("access-control-request-method", "POST")];
        let response = raw::http1(server.address, "OPTIONS", LOGIN, &preflight, b"").await;
        assert_eq!((response.status, response.header("access-control-allow-origin")), (405, None));
    }

    /// gRPC-Web over HTTP/2.
    async fn grpc_web_over_http2(database: Database) {
        let server = TestServer::start(&database).await;
        server.register().await;
        let body = framed(&GetUserBySessionRequest { session_id: "sess_unknown".into() });
        let headers = [("content-type", "application/grpc-web+proto"), ("accept", "application/grpc-web+proto")];
        let path = "/bienvenue.v1.AuthService/GetUserBySession";
        let response = raw::h2(&server.client.channel, "POST", path, &headers, body).await;
        assert_eq!(response.headers()["content-type"], "application/grpc-web+proto");
        assert_eq!(raw::status_of(&response).code(), Code::Unauthenticated);
        let login = LoginRequest { email: EMAIL.into(), password: "wrong".into() };
        Web::Text
            .call::<LoginResponse>(server.address, "Login", &login)
            .await
            .expect_refusal(Code::Unauthenticated, "INVALID_CREDENTIALS");
    }

    /// The replies are equal over every transport.
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
            let list = ListSessionsRequest { session_id: session_id.clone(), ..Default::default() };
            let listed: ListSessionsResponse =
                web.call(server.address, "ListSessions", &list).await.unwrap();
            assert_eq!(listed.sessions, server.client.list_sessions(&session_id).await.unwrap());
            let change = ChangePasswordRequest {
                session_id,
                current_password: PASSWORD.into(),
                new_password: NEW_PASSWORD.into(),
            };
            let changed: ChangePasswordResponse =
                web.call(server.address, "ChangePassword", &change).await.unwrap();
            let session_id = changed.session_id;
            let others = RevokeOtherSessionsRequest { session_id: session_id.clone() };
            let revoked: RevokeOtherSessionsResponse =
                web.call(server.address, "RevokeOtherSessions", &others).await.unwrap();
            assert_eq!(revoked.revoked, 0);
            let handle = changed.session.unwrap().handle;
            let revoke = RevokeSessionRequest { session_id: session_id.clone(), handle };
            let _: RevokeSessionResponse =
                web.call(server.address, "RevokeSession", &revoke).await.unwrap();
            web.call::<RevokeSessionResponse>(server.address, "RevokeSession", &revoke)
                .await
                .expect_refusal(Code::Unauthenticated, "SESSION_INVALID");
            let request = RequestPasswordResetRequest { email: email.clone() };
            let _: RequestPasswordResetResponse =
                web.call(server.address, "RequestPasswordReset", &request).await.unwrap();
            let reset_token = loop {
                let mail = server.outbox.next().await;
                if mail.body.contains("reset_token=") {
                    break mail.reset_token();
                }
            };
            let reset = ResetPasswordRequest { reset_token, new_password: PASSWORD.into() };
            let done: ResetPasswordResponse =
                web.call(server.address, "ResetPassword", &reset).await.unwrap();
            assert_eq!(done.user, registered.user);
            web.call::<ResetPasswordResponse>(server.address, "ResetPassword", &reset)
                .await
                .expect_refusal(Code::Unauthenticated, "RESET_TOKEN_INVALID");
            let session_id = server.client.login(&email, PASSWORD).await.unwrap().session_id;
            let check = GetUserBySessionRequest { session_id: session_id.clone() };
            let logout = LogoutRequest { session_id };
            let _: LogoutResponse = web.call(server.address, "Logout", &logout).await.unwrap();
            web.call::<GetUserBySessionResponse>(server.address, "GetUserBySession", &check)
                .await
                .expect_refusal(Code::Unauthenticated, "SESSION_INVALID");
        }
    }

    /// It is stored unchanged, from either protocol.
    async fn a_user_agent_need_not_be_ascii(database: Database) {
        let server = TestServer::start(&database).await;
        server.register().await;
        let user_agent = "T\u{E9}l\u{E9}phone/1";
        let login = framed(&LoginRequest { email: EMAIL.into(), password: PASSWORD.into() });
        let fields = form(&[("email", EMAIL), ("password", PASSWORD)]);
        for (path, content_type, body) in [
            (LOGIN, "application/grpc-web+proto", login.as_slice()),
            ("/sessions", "application/x-www-form-urlencoded", fields.as_bytes()),
        ] {
            let headers = [("content-type", content_type), ("user-agent", user_agent)];
            let response = raw::http1(server.address, "POST", path, &headers, body).await;
            assert_eq!(response.status, 200, "{path}");
        }
        let session_id = server.login().await.session_id;
        let listed = server.client.list_sessions(&session_id).await.unwrap();
        let kept = listed.iter().filter(|session| session.user_agent == user_agent);
        assert_eq!(kept.count(), 2, "{listed:?}");
    }
}
