//! Refused form requests get their status and a message in JSON, and the next request on the
//! connection is served.

use std::time::Duration;

use futures_util::future::join_all;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};

use crate::harness::{
    Calibration, Database, EMAIL, PASSWORD, TestServer, on_each_database, raw,
    requests::{Session, form},
};

const FORM: &str = "application/x-www-form-urlencoded";

/// The routes that read a form.
const READERS: [(&str, &str); 4] = [
    ("POST", "/users"),
    ("POST", "/sessions"),
    ("POST", "/reset_password"),
    ("PUT", "/reset_password"),
];

/// Headers, a body, and the expected status and words.
type BadBody<'a> = (&'a [(&'a str, &'a str)], &'a [u8], u16, &'a str);

/// Sends a request over HTTP/1.1, on the client's connection, and over HTTP/2, and expects
/// the same refusal. Returns the status and the message.
async fn refused(
    server: &TestServer,
    client: &mut Session,
    (method, path): (&str, &str),
    headers: &[(&str, &str)],
    body: &[u8],
) -> (u16, String) {
    let mut call = client.call(method, path).raw_body(body);
    for (name, value) in headers {
        call = call.header(name, value);
    }
    let first = call.await;
    assert_eq!(first.header("cache-control"), Some("no-store"));
    assert_eq!(first.header("x-content-type-options"), Some("nosniff"));
    let second = raw::h2(&server.client.channel, method, path, headers, body.to_vec()).await;
    assert_eq!(second.status(), first.status_code, "{method} {path}");
    assert!(first.status_code >= 400, "{first:?}");
    let text = raw::text_of(second).await;
    assert_eq!(text, first.text());
    let message = first.message();
    assert_eq!(
        serde_json::from_str::<Value>(&text).unwrap(),
        json!({ "message": message })
    );
    (first.status_code, message)
}

/// Logs the usual user in on the same connection.
async fn expect_service(client: &mut Session) {
    let fields = [("email", EMAIL), ("password", PASSWORD)];
    let login = client.post("/sessions").data(fields).await;
    assert_eq!(login.status_code, 200, "{login:?}");
    assert_eq!(
        client.get("/profile").await.json(),
        json!({ "email": EMAIL })
    );
    assert_eq!(client.delete("/sessions").await.status_code, 200);
}

/// A reset token from the reply, with `reset-delivery=response`.
async fn reset_token(client: &mut Session, email: &str) -> String {
    let asked = client
        .post("/reset_password")
        .data([("email", email)])
        .await;
    asked.json()["reset_token"].as_str().unwrap().to_owned()
}

on_each_database! {
    /// The message names the missing or invalid field.
    async fn invalid_fields_are_named(database: Database) {
        let server = TestServer::start(&database).await;
        server.register().await;
        let mut client = Session::new(server.address);
        let long = format!("{}@example.com", "a".repeat(255));
        let headers = [("content-type", FORM)];
        let addresses = [
            ("", "email is missing"),
            ("eve", "email is not an address"),
            ("eve\0@example.com", "email is not an address"),
            ("eve\r\nbcc: bob@example.com", "email is not an address"),
            ("\"><script>\"@example.com", "email is not an address"),
            ("' OR '1'='1", "email is not an address"),
            (&long, "email is too long"),
        ];
        for (email, expected_text) in addresses {
            for route in [("POST", "/users"), ("POST", "/reset_password")] {
                let body = form(&[("email", email), ("password", PASSWORD)]);
                let (status, message) =
                    refused(&server, &mut client, route, &headers, body.as_bytes()).await;
                assert_eq!(status, 400, "{route:?} {email:?}");
                assert!(message.starts_with(expected_text), "{message}");
            }
        }
        for (password, expected_text) in [
            ("", "password is missing"),
            ("seven77", "password is too short"),
            ("with a \0 inside", "password holds a control character"),
            (&"kP3 ".repeat(257), "password is too long"),
        ] {
            let body = form(&[("email", "eve@example.com"), ("password", password)]);
            let (status, message) =
                refused(&server, &mut client, ("POST", "/users"), &headers, body.as_bytes()).await;
            assert_eq!(status, 400, "{password:?}");
            assert!(message.starts_with(expected_text), "{message}");
        }
        let nothing = refused(&server, &mut client, ("POST", "/users"), &headers, b"").await;
        assert_eq!(nothing, (400, "email is missing".to_owned()));
        // Every failed login gets the same reply.
        let wrong = [(EMAIL, "wrong"), ("eve@example.com", PASSWORD), (EMAIL, "")];
        for (email, password) in wrong.into_iter().chain(addresses.map(|(email, _)| (email, PASSWORD))) {
            let body = form(&[("email", email), ("password", password)]);
            let refusal = refused(&server, &mut client, ("POST", "/sessions"), &headers, body.as_bytes()).await;
            assert_eq!(refusal, (401, "unknown e-mail or wrong password".to_owned()));
        }
        expect_service(&mut client).await;
        assert_eq!(client.connections, 1);
    }

    /// Bodies of other types, and malformed forms.
    async fn malformed_bodies_are_refused(database: Database) {
        let server = TestServer::start(&database).await;
        server.register().await;
        let mut client = Session::new(server.address);
        let good = form(&[("email", EMAIL), ("password", PASSWORD)]);
        let good = good.as_bytes();
        let too_large = form(&[("email", EMAIL), ("password", &"x".repeat(16 * 1024))]);
        let far_too_large = "x".repeat(300 * 1024);
        let with_charset = format!("{FORM}; charset=latin-1");
        let form_type = ("content-type", FORM);
        let cases: [BadBody<'_>; 18] = [
            (&[], good, 415, FORM),
            (&[("content-type", "")], b"", 415, FORM),
            (&[("content-type", "application/json")], br#"{"email":"ada@example.com"}"#, 415, FORM),
            (&[("content-type", "application/json")], b"", 415, FORM),
            (&[("content-type", "text/plain")], good, 415, FORM),
            (&[("content-type", "multipart/form-data; boundary=x")], b"--x--", 415, FORM),
            (&[("content-type", "application/grpc")], good, 415, FORM),
            (&[("content-type", &with_charset)], good, 415, FORM),
            (&[form_type, form_type], good, 415, FORM),
            (&[form_type, ("content-encoding", "gzip")], good, 415, "not compressed"),
            (&[("content-type", "text/plain")], far_too_large.as_bytes(), 415, FORM),
            (&[form_type], too_large.as_bytes(), 413, "at most 16384 bytes"),
            (&[form_type], far_too_large.as_bytes(), 413, "at most 16384 bytes"),
            (&[form_type], b"email=a&email=b", 400, "twice"),
            (&[form_type], b"email=a&%65mail=a", 400, "twice"),
            (&[form_type], b"unknown=1&unknown=1", 400, "twice"),
            (&[form_type], b"email=ada@example.com&password=caf\xE9", 400, "UTF-8"),
            (&[form_type], b"email=ada@example.com&password=caf%E9", 400, "UTF-8"),
        ];
        for (headers, body, status, expected_text) in cases {
            for route in READERS {
                let refusal = refused(&server, &mut client, route, headers, body).await;
                assert_eq!(refusal.0, status, "{route:?} {headers:?} {refusal:?}");
                assert!(refusal.1.contains(expected_text), "{refusal:?}");
            }
            expect_service(&mut client).await;
        }
        assert_eq!(client.connections, 1, "the connection stays open");
        // Fields in the query are not read.
        let query = format!("/users?{}", form(&[("email", "eve@example.com"), ("password", PASSWORD)]));
        let refusal = refused(&server, &mut client, ("POST", &query), &[], b"").await;
        assert_eq!(refusal, (400, "email is missing".to_owned()));
    }

    /// Forms of the largest size, with unknown fields, in either encoding.
    async fn unusual_forms_are_read(database: Database) {
        let server = TestServer::start(&database).await;
        server.register().await;
        let mut client = Session::new(server.address);
        let charset = format!("{}; charset=UTF-8", FORM.to_uppercase());
        let plain = form(&[("email", EMAIL), ("password", PASSWORD)]);
        let full = format!("{plain}&unknown=");
        let full = full.clone() + &"x".repeat(16 * 1024 - full.len());
        for (content_type, body) in [
            (charset.as_str(), plain.as_str()),
            (FORM, "&&email=%61da%40example.com&password=correct+horse%20battery&"),
            (FORM, &full),
        ] {
            let login = client.post("/sessions").body(content_type, body).await;
            assert_eq!(login.status_code, 200, "{login:?}");
        }
        // Encodings that no library produces.
        for (email, password) in [("eve@example.com", "100% sure %zz"), ("bob@example.com", "p\u{E4}ssw\u{F6}rter")] {
            let body = format!("email={email}&password={}", password.replace(' ', "+"));
            assert_eq!(client.post("/users").body(FORM, body).await.status_code, 200);
            server.client.login(email, password).await.expect("the same password");
        }
    }

    /// The reply has the e-mail as sent; the profile, as stored.
    async fn a_reply_repeats_the_sent_email(database: Database) {
        let server = TestServer::start(&database).await;
        let mut client = Session::new(server.address);
        for (sent, stored) in [
            ("ADA@Example.COM", "ada@example.com"),
            ("o'neil+{{7*7}}|`%s`$x@example.com", "o'neil+{{7*7}}|`%s`$x@example.com"),
            ("eve@b\u{FC}cher.example", "eve@xn--bcher-kva.example"),
        ] {
            let fields = [("email", sent), ("password", PASSWORD)];
            for (path, message) in [("/users", "user created"), ("/sessions", "logged in")] {
                let done = client.post(path).data(fields).await;
                assert_eq!(done.json(), json!({ "email": sent, "message": message }));
            }
            assert_eq!(client.get("/profile").await.json(), json!({ "email": stored }));
            let taken = client.post("/users").data([("email", stored), ("password", PASSWORD)]).await;
            assert_eq!((taken.status_code, taken.message().as_str()), (400, "email already registered"));
        }
    }

    /// A missing token does not match a user without one.
    async fn without_the_token_nothing_changes(database: Database) {
        let server = TestServer::start_with(&database, &["--reset-delivery=response"]).await;
        server.register().await;
        let mut client = Session::new(server.address);
        let new_password = ("new_password", "another long password");
        let fake = format!("rst_{}", "A".repeat(43));
        let session_id = server.login().await.session_id;
        // First no user has a token, then this one does.
        for round in 0..2 {
            for reset_token in ["", "None", "null", "NULL", "0", "rst_", &fake, &session_id] {
                for email in [EMAIL, "eve@example.com", ""] {
                    let fields = [("email", email), ("reset_token", reset_token), new_password];
                    let refused = client.put("/reset_password").data(fields).await;
                    assert_eq!(refused.status_code, 403, "{email:?} {reset_token:?}");
                }
            }
            for fields in [
                form(&[("email", EMAIL), new_password]),
                form(&[("email", EMAIL)]),
                form(&[new_password]),
                String::new(),
            ] {
                let refused = client.put("/reset_password").body(FORM, fields).await;
                assert_eq!(refused.status_code, 403);
            }
            if round == 0 {
                reset_token(&mut client, EMAIL).await;
            }
        }
        server.client.check(&session_id).await.expect("the session is open");
        expect_service(&mut client).await;
    }

    /// The token is checked first; an invalid password does not use it up.
    async fn a_token_works_for_its_user_once(database: Database) {
        let server = TestServer::start_with(&database, &["--reset-delivery=response"]).await;
        server.register().await;
        server.client.register("bob@example.com", PASSWORD).await.unwrap();
        let mut client = Session::new(server.address);
        let token = reset_token(&mut client, EMAIL).await;
        for (email, new_password, status, expected_text) in [
            ("bob@example.com", "a new password", 403, "token"),
            ("", "a new password", 403, "token"),
            ("eve", "short", 403, "token"),
            (EMAIL, "", 400, "new_password is missing"),
            (EMAIL, "short", 400, "new_password is too short"),
            ("ADA@example.com", "a new password", 200, "Password updated"),
            (EMAIL, "a new password", 403, "token"),
        ] {
            let fields = [("email", email), ("reset_token", &token), ("new_password", new_password)];
            let response = client.put("/reset_password").data(fields).await;
            assert_eq!(response.status_code, status, "{email:?} {new_password:?}");
            assert!(response.message().contains(expected_text), "{response:?}");
        }
        let old = reset_token(&mut client, EMAIL).await;
        let new = reset_token(&mut client, EMAIL).await;
        server.clock.advance(Duration::from_secs(601));
        for token in [&old, &new] {
            let fields = [("email", EMAIL), ("reset_token", token), ("new_password", PASSWORD)];
            assert_eq!(client.put("/reset_password").data(fields).await.status_code, 403);
        }
        let unknown = client.post("/reset_password").data([("email", "eve@example.com")]).await;
        assert_eq!((unknown.status_code, unknown.message().as_str()), (403, "email is not registered"));
        let bad = client.post("/reset_password").data([("email", "eve")]).await;
        assert_eq!(bad.json(), unknown.json());
    }

    /// Each path lists its methods in `Allow`, and HEAD is GET without a body.
    async fn other_http_methods_are_refused(database: Database) {
        let server = TestServer::start(&database).await;
        server.register().await;
        let mut client = Session::new(server.address);
        for (path, allowed) in [
            ("/", "GET,HEAD"),
            ("/users", "POST"),
            ("/sessions", "POST,DELETE"),
            ("/profile", "GET,HEAD"),
            ("/reset_password", "GET,HEAD,POST,PUT"),
        ] {
            for method in ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "BREW"] {
                let response = client.call(method, path).await;
                let is_allowed = allowed.split(',').any(|one| one == method);
                assert_eq!(response.status_code != 405, is_allowed, "{method} {path}");
                if !is_allowed {
                    assert_eq!(response.header("allow"), Some(allowed));
                    assert!(response.message().contains("Allow"));
                }
            }
        }
        for path in ["/user", "/users/", "/sessions/1", "/Profile", "/pro%66ile"] {
            let refusal = refused(&server, &mut client, ("POST", path), &[], b"").await;
            assert_eq!(refusal.0, 404, "{path}");
        }
        assert_eq!(client.call("HEAD", "/profile").await.status_code, 403);
        let session_id = server.login().await.session_id;
        let head = client.call("HEAD", "/profile").cookies("session_id", &session_id).await;
        assert_eq!((head.status_code, head.text()), (200, ""));
        assert_eq!(client.connections, 1);
    }

    /// A body is never parsed as a request, whether or not its own request was refused.
    async fn a_body_is_never_parsed_as_a_request(database: Database) {
        let server = TestServer::start(&database).await;
        let smuggled = "GET /smuggled HTTP/1.1\r\nhost: x\r\n\r\n";
        let next = "GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
        for (head, status) in [
            ("POST /users HTTP/1.1\r\ncontent-type: text/plain", "415"),
            ("POST /users HTTP/1.1\r\ncontent-type: application/x-www-form-urlencoded", "400"),
            ("POST /users HTTP/1.1\r\norigin: http://evil.example", "403"),
            ("DELETE /sessions HTTP/1.1", "403"),
            ("DELETE /users HTTP/1.1", "405"),
            ("GET /profile HTTP/1.1", "403"),
            ("POST /nothing HTTP/1.1", "404"),
        ] {
            for padding in [0, 100_000] {
                let body = smuggled.repeat(1 + padding / smuggled.len());
                let request =
                    format!("{head}\r\nhost: x\r\ncontent-length: {}\r\n\r\n{body}{next}", body.len());
                let mut socket = TcpStream::connect(server.address).await.unwrap();
                // The server may close the connection before the end.
                let _ = socket.write_all(request.as_bytes()).await;
                let mut answer = Vec::new();
                let _ = timeout(Duration::from_secs(10), socket.read_to_end(&mut answer)).await.unwrap();
                let answer = String::from_utf8(answer).unwrap();
                let mut answers = answer.split("HTTP/1.1 ").skip(1);
                let expected = if padding > 0 && status == "400" { "413" } else { status };
                let first = answers.next();
                // Closing a connection with unread bytes may lose the reply.
                assert!(first.is_some() || padding > 0, "{head}");
                assert!(first.is_none_or(|first| first.starts_with(expected)), "{answer}");
                assert!(answers.next().is_none_or(|second| second.starts_with("200")), "{answer}");
                assert_eq!(answers.next(), None);
            }
        }
    }

    /// Without hashing capacity in time, a form gets 503.
    async fn an_overloaded_server_refuses_forms(database: Database) {
        let calibration = Calibration::at_least(Duration::from_millis(100)).await.setting();
        let settings = ["--hash-threads=1", "--hash-max-wait=500ms", &calibration];
        let server = TestServer::start_with(&database, &settings).await;
        let tries = (0..40).map(async |n| {
            let email = format!("user{n}@example.com");
            let fields = [("email", email.as_str()), ("password", PASSWORD)];
            Session::new(server.address).post("/users").data(fields).await
        });
        let mut overloaded = 0;
        for tried in join_all(tries).await {
            if tried.status_code != 200 {
                assert_eq!(tried.status_code, 503);
                let retry_after: u64 = tried.header("retry-after").unwrap().parse().unwrap();
                assert!(retry_after > 0);
                assert!(tried.message().contains("try again"), "{tried:?}");
                overloaded += 1;
            }
        }
        assert!((1..40).contains(&overloaded), "{overloaded} of 40");
    }

    /// A body that never arrives.
    async fn a_form_that_takes_too_long_is_refused(database: Database) {
        let settings = ["--request-timeout=200ms", "--hash-max-wait=100ms"];
        let server = TestServer::start_with(&database, &settings).await;
        let mut socket = TcpStream::connect(server.address).await.unwrap();
        let head = "POST /users HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\
                    content-type: application/x-www-form-urlencoded\r\n\r\nemail=";
        socket.write_all(head.as_bytes()).await.unwrap();
        let mut answer = String::new();
        let end = socket.read_to_string(&mut answer);
        timeout(Duration::from_secs(4), end).await.unwrap().unwrap();
        assert!(answer.starts_with("HTTP/1.1 503"), "{answer}");
        assert!(answer.contains(r#"{"message":"the request took longer"#), "{answer}");
    }

    /// A damaged row or an unavailable database is not reported as an invalid session or a wrong
    /// password, and its cause is not revealed.
    async fn internal_faults_are_reported_as_such(database: Database) {
        let server = TestServer::start(&database).await;
        server.register().await;
        let mut client = Session::new(server.address);
        let fields = [("email", EMAIL), ("password", PASSWORD)];
        assert_eq!(client.post("/sessions").data(fields).await.status_code, 200);
        // After a restart memory is empty.
        server.stop().await;
        assert_eq!(database.execute("UPDATE sessions SET handle = 'damaged'"), 1);
        let server = TestServer::start(&database).await;
        client.go_to(server.address);
        let response = client.get("/profile").await;
        assert_eq!(response.status_code, 500);
        let message = "something went wrong inside the service; its log has the cause";
        assert_eq!(response.json(), json!({ "message": message }));
        database.execute("ALTER TABLE sessions RENAME TO gone");
        for response in [
            client.get("/profile").await,
            client.delete("/sessions").await,
            client.post("/sessions").data(fields).await,
        ] {
            assert_eq!((response.status_code, response.header("retry-after")), (503, Some("1")));
            let message = "the database is unavailable or busy; try again in a moment";
            assert_eq!(response.json(), json!({ "message": message }));
        }
        database.execute("ALTER TABLE gone RENAME TO sessions");
        expect_service(&mut Session::new(server.address)).await;
    }
}
