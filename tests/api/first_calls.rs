//! Common mistakes of first calls: the error says what to do, from the shape of the request
//! only.

use bienvenue::proto::v1::{GetUserBySessionRequest, LogoutRequest, RevokeOtherSessionsRequest};
use tonic::{Code, Request, Status};

use crate::harness::{
    Database, Expect as _, NEW_PASSWORD, TestServer,
    methods::methods_with,
    on_each_database,
    raw::{self, Web, frame, framed},
    refused,
};

const GRPC: [(&str, &str); 1] = [("content-type", "application/grpc")];

on_each_database! {
    /// A `session_id` in the metadata, missing, or of another form.
    async fn a_misplaced_session_id_is_explained(database: Database) {
        let server = TestServer::start(&database).await;
        server.register().await;
        let login = server.login().await;
        let (good, handle) = (login.session_id, login.session.unwrap().handle);
        let reset_token = server.reset_token().await;
        let client = &server.client;
        for (name, value) in [
            ("session_id", good.clone()),
            ("session-id", good.clone()),
            ("authorization", format!("Bearer {good}")),
            ("cookie", format!("session_id={good}")),
        ] {
            let mut request = Request::new(GetUserBySessionRequest::default());
            request.metadata_mut().insert(name, value.parse().unwrap());
            let refusal = client.stub().get_user_by_session(request).await;
            expect_invalid_session(refusal, &["session_id", "the message", "metadata"]);
            let mut request = Request::new(LogoutRequest::default());
            request.metadata_mut().insert(name, value.parse().unwrap());
            expect_invalid_session(client.stub().logout(request).await, &["the message", "metadata"]);
            let mut request = Request::new(RevokeOtherSessionsRequest::default());
            request.metadata_mut().insert(name, value.parse().unwrap());
            let refusal = client.stub().revoke_other_sessions(request).await;
            expect_invalid_session(refusal, &["the message", "metadata"]);
        }
        for (sent, words) in [
            ("", &["is missing", "Login", "sess_"][..]),
            (&handle, &["handle", "sess_"]),
            (&reset_token, &["reset token", "sess_"]),
            (good.strip_prefix("sess_").unwrap(), &["beginning", "sess_"]),
            (&format!("Bearer {good}"), &["nothing before or after"]),
            (&format!("{good}\n"), &["nothing before or after"]),
            (&good[..20], &["copy it whole"]),
            ("ada@example.com", &["as Login returned it"]),
        ] {
            for method in methods_with("session_id") {
                let status = method.call(&client.channel, &method.request_with("session_id", sent)).await;
                expect_invalid_session(Err::<(), _>(status), words);
            }
            let web = GetUserBySessionRequest { session_id: sent.to_owned() };
            let web = Web::Binary.call::<LogoutRequest>(server.address, "GetUserBySession", &web);
            expect_invalid_session(web.await, words);
        }
        // A well-formed session id gets the same message, ended or unknown.
        let unknown_id = format!("sess_{}", "A".repeat(43));
        client.logout(&good).await.unwrap();
        let [ended, unknown] = [&good, &unknown_id].map(|id| client.check(id));
        let (ended, unknown) = (ended.await.unwrap_err(), unknown.await.unwrap_err());
        assert_eq!(ended.message(), unknown.message());
        assert!(ended.message().contains("log in again"), "{ended:?}");
    }

    async fn a_malformed_reset_token_is_explained(database: Database) {
        let server = TestServer::start(&database).await;
        server.register().await;
        let session_id = server.login().await.session_id;
        let token = server.reset_token().await;
        let link = format!("http://localhost/reset_password?email=x&reset_token={token}");
        for (sent, words) in [
            ("", &["is missing", "mail", "rst_"][..]),
            (&link, &["whole link", "rst_"]),
            (&session_id, &["session_id", "rst_"]),
            (&token[..30], &["rst_", "copy it whole"]),
        ] {
            let refusal = server.client.reset_password(sent, NEW_PASSWORD).await;
            let status = refusal.unwrap_err();
            refused(&status, Code::Unauthenticated, "RESET_TOKEN_INVALID");
            contains(&status, words);
        }
        let unknown = format!("rst_{}", "A".repeat(43));
        let refusal = server.client.reset_password(&unknown, NEW_PASSWORD).await;
        contains(&refusal.unwrap_err(), &["ask for a new one"]);
        server.client.reset_password(&token, NEW_PASSWORD).await.expect("the token is unused");
    }

    /// Empty messages, and an invalid handle.
    async fn missing_fields_are_named(database: Database) {
        let server = TestServer::start(&database).await;
        server.register().await;
        let session_id = server.login().await.session_id;
        for (refusal, words) in [
            (server.client.register("", "").await.map(drop), &["email is missing"][..]),
            (server.client.login("", "").await.map(drop), &["email is missing"]),
            (server.client.register("eve@example.com", "short").await.map(drop), &["at least 8"]),
            (server.client.request_password_reset("").await, &["email is missing"]),
            (server.client.revoke_session(&session_id, "").await, &["handle", "ListSessions"]),
            (server.client.revoke_session(&session_id, &session_id).await, &["handle", "ListSessions"]),
        ] {
            let status = refusal.unwrap_err();
            refused(&status, Code::InvalidArgument, "INVALID_FIELD");
            contains(&status, words);
        }
    }

    /// The error for an unknown name lists the existing ones.
    async fn an_unknown_method_or_service_is_explained(database: Database) {
        let server = TestServer::start_watched(&database, &["--reflection=off"]).await;
        let public = &server.client.channel;
        let admin = server.admin_address.unwrap();
        let admin = crate::harness::server::Client::connect(admin).await.channel;
        let reflection = "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo";
        for (channel, path, words) in [
            (public, "/bienvenue.v1.AuthService/login", &["Register, Login, GetUserBySession"][..]),
            (public, "/bienvenue.v1.AuthService/GetUser", &["no such method"]),
            (public, "/grpc.health.v1.Health/check", &["no such method"]),
            (public, "/AuthService/Login", &["bienvenue.v1.AuthService, grpc.health.v1.Health"]),
            (public, "/bienvenue.AuthService/Login", &["this port", "bienvenue.v1.AuthService"]),
            (public, "/bienvenue.v1.AdminService/WatchRevocations", &["--admin-listen"]),
            (public, reflection, &["--reflection=on", "-proto"]),
            (&admin, "/bienvenue.v1.AuthService/Login", &["internal listener", "--listen"]),
            (&admin, "/unknown.Service/Method", &["bienvenue.v1.AdminService"]),
            (&admin, reflection, &["--reflection=on"]),
        ] {
            let response = raw::h2(channel, "POST", path, &GRPC, frame(&[])).await;
            let status = raw::status_of(&response);
            refused(&status, Code::Unimplemented, "UNIMPLEMENTED");
            contains(&status, words);
            assert!(!status.message().contains(path), "{status:?}");
        }
        let compressed = [GRPC[0], ("grpc-encoding", "gzip")];
        let login = "/bienvenue.v1.AuthService/Login";
        let response = raw::h2(public, "POST", login, &compressed, frame(&[])).await;
        contains(&raw::status_of(&response), &["compressed"]);
    }

    /// Plain HTTP requests to a gRPC method.
    async fn http_instead_of_grpc_is_explained(database: Database) {
        let server = TestServer::start(&database).await;
        let path = "/bienvenue.v1.AuthService/GetUserBySession";
        let request = framed(&GetUserBySessionRequest::default());
        for (method, content_type, words) in [
            ("GET", "application/json", &["POST", "grpcurl"][..]),
            ("POST", "application/json", &["grpcurl", "not with JSON", "application/grpc-web"]),
            ("POST", "application/x-www-form-urlencoded", &["grpcurl", "a form"]),
            ("POST", "application/grpc", &["HTTP/2", "grpc_pass", "gRPC-Web"]),
        ] {
            let headers = [("content-type", content_type)];
            let response = raw::http1(server.address, method, path, &headers, &request).await;
            for word in words {
                assert!(response.text().contains(word), "{}", response.text());
            }
        }
    }
}

/// Expects SESSION_INVALID with a message that contains these words.
fn expect_invalid_session<T: std::fmt::Debug>(refusal: Result<T, Status>, words: &[&str]) {
    let status = refusal.as_ref().unwrap_err().clone();
    refusal.expect_refusal(Code::Unauthenticated, "SESSION_INVALID");
    contains(&status, words);
}

fn contains(status: &Status, words: &[&str]) {
    for word in words {
        assert!(status.message().contains(word), "no {word:?} in {status:?}");
    }
}
