//! The session cookie, and requests of other sites' pages.

use bienvenue::proto::v1::GetUserBySessionRequest;
use tonic::Code;

use crate::harness::{
    Database, EMAIL, PASSWORD, TestServer, on_each_database,
    raw::{self, framed},
    refused,
    requests::{Session, form},
};

const PUBLIC: &str = "https://accounts.example.com";
const LOGIN: [(&str, &str); 2] = [("email", EMAIL), ("password", PASSWORD)];

/// A public URL with https and one without, and the cookie's name for each.
const PUBLIC_URLS: [(&str, &str); 2] = [
    ("http://localhost:50051", "session_id"),
    (PUBLIC, "__Host-session_id"),
];

/// A server with this public URL and the usual user.
async fn start(database: &Database, public_url: &str) -> TestServer {
    let server = TestServer::start_with(database, &["--public-url", public_url]).await;
    // Already registered where an earlier server used the database.
    let _ = server.client.register(EMAIL, PASSWORD).await;
    server
}

fn client(server: &TestServer, public_url: &str) -> Session {
    if public_url.starts_with("https") {
        Session::through_tls(server.address)
    } else {
        Session::new(server.address)
    }
}

on_each_database! {
    /// Its attributes at login, its lifetime, and its removal.
    async fn the_cookie_has_its_attributes(database: Database) {
        for (url, name) in PUBLIC_URLS {
            let secure = if url.starts_with("https") { " Secure;" } else { "" };
            for (setting, max_age) in [("30d", 2_592_000), ("90m", 5_400)] {
                let settings = ["--public-url", url, "--session-idle=1h", "--session-absolute", setting];
                let server = TestServer::start_with(&database, &settings).await;
                let _ = server.client.register(EMAIL, PASSWORD).await;
                let mut client = client(&server, url);
                let login = client.post("/sessions").data(LOGIN).await;
                let session_id = login.cookie(name).unwrap();
                assert_eq!(
                    login.header("set-cookie").unwrap(),
                    format!("{name}={session_id}; HttpOnly; SameSite=Lax;{secure} Path=/; Max-Age={max_age}")
                );
                server.client.check(&session_id).await.expect("the cookie's value is the session_id");
                assert_eq!(client.get("/profile").await.status_code, 200);
                let away = client.delete("/sessions").allow_redirects(false).await;
                assert_eq!(
                    away.header("set-cookie").unwrap(),
                    format!("{name}=; HttpOnly; SameSite=Lax;{secure} Path=/; Max-Age=0")
                );
                assert_eq!(client.cookie(name), None);
                server.client.expect_no_session(&session_id).await;
            }
        }
    }

    /// Only the one name counts, over either version of HTTP; an invalid value beside a valid
    /// one is ignored.
    async fn other_names_and_invalid_values_are_ignored(database: Database) {
        for (url, name) in PUBLIC_URLS {
            let other = PUBLIC_URLS.iter().find(|(_, other)| *other != name).unwrap().1;
            let server = start(&database, url).await;
            let good = server.login().await.session_id;
            for (headers, is_read) in [
                (vec![format!("{name}={good}")], true),
                (vec![format!("a=b; {name}={good}; {other}=x")], true),
                (vec!["a=b".to_owned(), format!("{name}={good}")], true),
                (vec![format!("{other}={good}")], false),
                (vec![format!("{name}={good}; {name}={good}")], true),
                (vec![format!("{name}=x; {name}={good}")], true),
                (vec![format!("{name}={good}; {name}=x")], true),
                (vec![format!("{name}={good}; {name}={good}; {name}=x")], true),
                (vec![format!("{name}={good}; {name} = x")], true),
                (vec![format!("{name}={good}"), format!("{name}={good}")], true),
                (vec![format!("{name}={good}"), format!("{name}=x")], true),
                (vec![format!("{}={good}", name.to_uppercase())], false),
                (vec![format!("{name}=\"{good}\"")], false),
                (vec![format!("{name}={good}x")], false),
                (vec![format!("{name}=")], false),
                (vec![name.to_owned()], false),
                (vec![good.clone()], false),
                (vec![], false),
            ] {
                let status = if is_read { 200 } else { 403 };
                let headers: Vec<_> = headers.iter().map(|one| ("cookie", one.as_str())).collect();
                let response = raw::http1(server.address, "GET", "/profile", &headers, b"").await;
                assert_eq!(response.status, status, "{headers:?}");
                let response = raw::h2(&server.client.channel, "GET", "/profile", &headers, vec![]).await;
                assert_eq!(response.status(), status, "{headers:?}");
                if !is_read {
                    let response = raw::http1(server.address, "DELETE", "/sessions", &headers, b"").await;
                    assert_eq!(response.status, 403, "{headers:?}");
                    assert_eq!(response.header("set-cookie"), None);
                }
            }
            server.client.check(&good).await.expect("the session is open");
        }
    }

    /// A login opens a new session and ends the presented one.
    async fn a_login_does_not_adopt_a_presented_session(database: Database) {
        let server = TestServer::start(&database).await;
        server.register().await;
        let planted = format!("sess_{}", "A".repeat(43));
        for value in [planted.as_str(), "x", ""] {
            let login = Session::new(server.address)
                .post("/sessions")
                .cookies("session_id", value)
                .data(LOGIN)
                .await;
            assert_eq!(login.status_code, 200);
            assert_ne!(login.cookie("session_id").unwrap(), value);
        }
        server.client.expect_no_session(&planted).await;
        let mut client = Session::new(server.address);
        client.post("/sessions").data(LOGIN).await;
        let first = client.cookie("session_id").unwrap().to_owned();
        // A failed login changes nothing.
        let wrong = client.post("/sessions").data([("email", EMAIL), ("password", "wrong")]).await;
        assert_eq!((wrong.status_code, wrong.header("set-cookie")), (401, None));
        server.client.check(&first).await.expect("a session");
        client.post("/sessions").data(LOGIN).await;
        let second = client.cookie("session_id").unwrap().to_owned();
        server.client.expect_no_session(&first).await;
        // Beside an invalid value, too.
        let two = format!("session_id={second}; session_id=x");
        let mut other = Session::new(server.address);
        let login = other.post("/sessions").header("cookie", &two).data(LOGIN);
        assert_eq!(login.await.status_code, 200);
        server.client.expect_no_session(&second).await;
    }

    /// gRPC reads the `session_id` from the message only.
    async fn grpc_reads_no_cookie(database: Database) {
        let server = TestServer::start(&database).await;
        server.register().await;
        let cookie = format!("session_id={}", server.login().await.session_id);
        let path = "/bienvenue.v1.AuthService/GetUserBySession";
        let body = framed(&GetUserBySessionRequest { session_id: String::new() });
        let headers = [("content-type", "application/grpc"), ("cookie", cookie.as_str())];
        let response = raw::h2(&server.client.channel, "POST", path, &headers, body.clone()).await;
        refused(&raw::status_of(&response), Code::Unauthenticated, "SESSION_INVALID");
        let headers = [("content-type", "application/grpc-web"), ("cookie", cookie.as_str())];
        let response = raw::http1(server.address, "POST", path, &headers, &body).await;
        refused(&raw::status(&response.headers), Code::Unauthenticated, "SESSION_INVALID");
    }

    /// Cross-site requests change nothing.
    async fn cross_site_requests_are_refused(database: Database) {
        for (url, name) in PUBLIC_URLS {
            let server = start(&database, url).await;
            let session_id = server.login().await.session_id;
            let cookie = format!("{name}={session_id}");
            let to_ip = format!("http://{}", server.address);
            let foreign: [&[(&str, &str)]; 14] = [
                &[("sec-fetch-site", "cross-site")],
                &[("sec-fetch-site", "same-site")],
                &[("sec-fetch-site", "SAME-ORIGIN")],
                &[("sec-fetch-site", "")],
                &[("sec-fetch-site", "none"), ("sec-fetch-site", "same-origin")],
                &[("sec-fetch-site", "cross-site"), ("origin", url)],
                &[("sec-fetch-site", "same-origin"), ("origin", "https://evil.example")],
                &[("origin", "https://evil.example")],
                &[("origin", "null")],
                &[("origin", "")],
                &[("origin", &to_ip)],
                &[("origin", "https://accounts.example.com.evil.example")],
                &[("origin", "http://accounts.example.com")],
                &[("origin", url), ("origin", url)],
            ];
            let body = form(&[
                ("email", EMAIL),
                ("password", PASSWORD),
                ("reset_token", "x"),
                ("new_password", PASSWORD),
            ]);
            for headers in foreign {
                for (method, path) in [
                    ("POST", "/users"),
                    ("POST", "/sessions"),
                    ("DELETE", "/sessions"),
                    ("POST", "/reset_password"),
                    ("PUT", "/reset_password"),
                ] {
                    let form = ("content-type", "application/x-www-form-urlencoded");
                    let headers = [headers, &[form, ("cookie", &cookie)]].concat();
                    let refused =
                        raw::http1(server.address, method, path, &headers, body.as_bytes()).await;
                    assert_eq!(refused.status, 403, "{method} {path} {headers:?}");
                    assert!(refused.text().contains("public-url"), "{}", refused.text());
                    assert_eq!(refused.header("set-cookie"), None);
                    let body = body.clone().into_bytes();
                    let refused = raw::h2(&server.client.channel, method, path, &headers, body).await;
                    assert_eq!(refused.status(), 403, "{method} {path} {headers:?}");
                }
            }
            server.client.check(&session_id).await.expect("the session is open");
            // Requests of the service's own pages, and of programs.
            let own: [&[(&str, &str)]; 5] = [
                &[],
                &[("origin", url)],
                &[("sec-fetch-site", "same-origin")],
                &[("sec-fetch-site", "none")],
                &[("sec-fetch-site", "same-origin"), ("origin", url)],
            ];
            for headers in own {
                let mut client = client(&server, url);
                let mut login = client.post("/sessions").data(LOGIN);
                for (name, value) in headers {
                    login = login.header(name, value);
                }
                assert_eq!(login.await.status_code, 200, "{headers:?}");
                // A link from another site works: GET changes nothing.
                let profile = client.get("/profile").header("sec-fetch-site", "cross-site");
                assert_eq!(profile.await.status_code, 200);
            }
        }
    }

    /// Without the setting, the public URL is localhost.
    async fn the_public_url_defaults_to_localhost(database: Database) {
        let server = TestServer::start(&database).await;
        server.register().await;
        for (host, status) in [("localhost", 200), ("127.0.0.1", 403), ("localhost.evil.example", 403)] {
            let origin = format!("http://{host}:{}", server.address.port());
            let mut client = Session::new(server.address);
            let login = client.post("/sessions").data(LOGIN).header("origin", &origin);
            assert_eq!(login.await.status_code, status, "{origin}");
        }
    }

    /// Pages allowed to use gRPC-Web may not use the forms.
    async fn cors_is_not_for_forms(database: Database) {
        let app = "https://app.example.com";
        let server = TestServer::start_with(&database, &["--cors-origin", app]).await;
        server.register().await;
        let cookie = format!("session_id={}", server.login().await.session_id);
        for (method, path, status) in [
            ("OPTIONS", "/sessions", 405),
            ("DELETE", "/sessions", 403),
            ("GET", "/profile", 200),
        ] {
            let headers = [
                ("origin", app),
                ("access-control-request-method", "DELETE"),
                ("cookie", cookie.as_str()),
            ];
            let response = raw::http1(server.address, method, path, &headers, b"").await;
            assert_eq!(response.status, status, "{method} {path}");
            let cors = response.headers.iter().find(|(name, _)| name.starts_with("access-control"));
            assert_eq!(cors, None);
        }
    }
}
