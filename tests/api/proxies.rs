//! The configurations of `docs/proxies.md`, unchanged, with the real proxies and real clients
//! through TLS.

use std::{
    io::Write as _,
    path::Path,
    process::{Command, Output},
};

use bienvenue::proto::v1::LoginRequest;
use tempfile::NamedTempFile;

use crate::harness::{
    Database, EMAIL, PASSWORD, TestServer, grpcurl, on_each_database,
    proxy::{HOST, Kind, Proxy},
    raw,
};

/// The clients' address, which the proxies have to report; it differs from the proxies' own.
const CLIENT: &str = "127.0.0.2";

/// External programs that call the service through a proxy.
struct Clients<'a> {
    proxy: &'a Proxy,
    grpcurl: &'a Path,
}

impl Clients<'_> {
    /// curl, from [`CLIENT`], over one version of HTTP.
    async fn curl(&self, version: &str, arguments: &[&str], body: &[u8]) -> String {
        let port = self.proxy.address.port();
        let mut command = Command::new("curl");
        command
            .args(["--silent", "--show-error", "--include", "--max-time", "30"])
            .args([version, "--interface", CLIENT, "--cacert"])
            .arg(self.proxy.authority())
            .arg("--resolve")
            .arg(format!("{HOST}:{port}:127.0.0.1"))
            // A client's own header is not trusted.
            .args(["--header", "x-forwarded-for: 203.0.113.9"])
            .args(arguments);
        if !body.is_empty() {
            let mut file = NamedTempFile::new().expect("a file");
            file.write_all(body).expect("a file");
            command
                .arg("--data-binary")
                .arg(format!("@{}", file.path().display()));
            return answer(run(command, Some(file)).await, &self.proxy.log());
        }
        answer(run(command, None).await, &self.proxy.log())
    }

    /// curl, with a path of the service.
    async fn call(&self, version: &str, path: &str, arguments: &[&str], body: &[u8]) -> String {
        let url = format!("https://{HOST}:{}{path}", self.proxy.address.port());
        let all: Vec<&str> = [url.as_str()]
            .into_iter()
            .chain(arguments.iter().copied())
            .collect();
        self.curl(version, &all, body).await
    }

    /// grpcurl, with the protos of this repository: reflection is off behind a proxy.
    async fn grpc(&self, method: &str, message: &str) -> (bool, String) {
        let mut command = Command::new(self.grpcurl);
        command
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .args(["-max-time", "30", "-authority", HOST, "-cacert"])
            .arg(self.proxy.authority())
            .args([
                "-import-path",
                "proto",
                "-proto",
                "bienvenue/v1/auth_service.proto",
            ])
            .args(["-d", message, &self.proxy.address.to_string()])
            .arg(format!("bienvenue.v1.AuthService/{method}"));
        let output = run(command, None).await;
        let text = [output.stdout, output.stderr].concat();
        (
            output.status.success(),
            String::from_utf8(text).expect("UTF-8"),
        )
    }
}

/// Runs a program to its end; its input file is kept until then.
async fn run(mut command: Command, kept: Option<NamedTempFile>) -> Output {
    let run = move || {
        let output = command.output();
        drop(kept);
        output
    };
    let output = tokio::task::spawn_blocking(run).await.expect("a thread");
    output.expect("the program runs")
}

fn answer(output: Output, log: &str) -> String {
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}{log}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// The `session_id` in a text.
fn session_id(text: &str) -> String {
    let start = text
        .find("sess_")
        .unwrap_or_else(|| panic!("no session_id: {text}"));
    text[start..start + 48].to_owned()
}

/// The requirements on each proxy.
async fn serves_everything(database: Database, kind: Kind) {
    let what = "the tests of the proxies";
    let Some(grpcurl) = grpcurl::find(what) else {
        return;
    };
    let settings = [
        "--public-url=https://accounts.example.com",
        "--trusted-proxies=127.0.0.1",
    ];
    let server = TestServer::start_with(&database, &settings).await;
    let Some(proxy) = Proxy::start(kind, server.address).await else {
        return;
    };
    let clients = Clients {
        proxy: &proxy,
        grpcurl: &grpcurl,
    };

    // gRPC: replies, and errors with their details.
    let credentials = format!(r#"{{"email":"{EMAIL}","password":"{PASSWORD}"}}"#);
    for method in ["Register", "Login"] {
        let (is_success, text) = clients.grpc(method, &credentials).await;
        assert!(is_success && text.contains(EMAIL), "{text}{}", proxy.log());
    }
    let (is_success, text) = clients.grpc("Register", &credentials).await;
    assert!(!is_success, "{text}");
    assert!(
        text.contains("AlreadyExists") && text.contains("google.rpc.ErrorInfo"),
        "{text}"
    );

    for version in ["--http1.1", "--http2"] {
        serves_web(&server, &clients, version).await;
        serves_forms(&server, &clients, version).await;
    }
    assert!(!proxy.log().contains("secret-token"), "{}", proxy.log());
}

/// gRPC-Web, as used by a page.
async fn serves_web(server: &TestServer, clients: &Clients<'_>, version: &str) {
    let request = LoginRequest {
        email: EMAIL.to_owned(),
        password: PASSWORD.to_owned(),
    };
    let web = ["--header", "content-type: application/grpc-web+proto"];
    let path = "/bienvenue.v1.AuthService/Login";
    let text = clients
        .call(version, path, &web, &raw::framed(&request))
        .await;
    assert!(text.contains("application/grpc-web+proto"), "{text}");
    assert!(text.contains("grpc-status:0"), "{text}");
    assert_is_from_client(server, &session_id(&text)).await;
    let wrong = LoginRequest {
        password: "wrong".to_owned(),
        ..request
    };
    let text = clients
        .call(version, path, &web, &raw::framed(&wrong))
        .await;
    // In a header, or in the trailers that are part of the body.
    let text = text.to_lowercase().replace(": ", ":");
    assert!(text.contains("grpc-status:16"), "{text}");
}

/// Forms, with the cookie.
async fn serves_forms(server: &TestServer, clients: &Clients<'_>, version: &str) {
    let origin = ["--header", "origin: https://accounts.example.com"];
    let form = format!("email={EMAIL}&password={PASSWORD}").replace(' ', "+");
    let login = clients
        .call(version, "/sessions", &origin, form.as_bytes())
        .await;
    assert!(login.contains(r#""message":"logged in""#), "{login}");
    let attributes = "HttpOnly; SameSite=Lax; Secure; Path=/";
    assert!(
        login.contains("__Host-session_id=sess_") && login.contains(attributes),
        "{login}"
    );
    let session_id = session_id(&login);
    assert_is_from_client(server, &session_id).await;
    let cookie = format!("cookie: __Host-session_id={session_id}");
    let cookie = ["--header", cookie.as_str()];
    let profile = clients.call(version, "/profile", &cookie, b"").await;
    assert!(
        profile.contains(&format!(r#"{{"email":"{EMAIL}"}}"#)),
        "{profile}"
    );
    let page = "/reset_password?email=ada%40example.com&reset_token=secret-token";
    let page = clients.call(version, page, &[], b"").await;
    assert!(page.contains("<form"), "{page}");
    let away = clients
        .call(
            version,
            "/sessions",
            &[&cookie[..], &["--request", "DELETE"]].concat(),
            b"",
        )
        .await;
    assert!(
        away.contains(" 302") && away.to_lowercase().contains("location: /\r"),
        "{away}"
    );
    server.client.expect_no_session(&session_id).await;
    let foreign = ["--header", "origin: https://elsewhere.example"];
    let refused = clients
        .call(version, "/sessions", &foreign, form.as_bytes())
        .await;
    assert!(refused.contains(" 403"), "{refused}");
}

/// Expects a session with the client's address by the proxy, not by the client's header.
async fn assert_is_from_client(server: &TestServer, session_id: &str) {
    let checked = server.client.check(session_id).await.expect("a session");
    assert_eq!(checked.session.expect("a session").ip, CLIENT);
}

on_each_database! {
    async fn nginx(database: Database) {
        serves_everything(database, Kind::Nginx).await;
    }

    async fn caddy(database: Database) {
        serves_everything(database, Kind::Caddy).await;
    }

    async fn envoy(database: Database) {
        serves_everything(database, Kind::Envoy).await;
    }
}
