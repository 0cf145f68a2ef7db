//! The log: a line for each change and failure, and no secrets.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::harness::{
    Database, EMAIL, PASSWORD, Process,
    methods::methods,
    on_each_database,
    raw::{self, frame},
    requests::Session,
    server::Client,
};

/// A browser's CORS preflight.
const PREFLIGHT: [(&str, &str); 2] = [
    ("origin", "https://app.example.com"),
    ("access-control-request-method", "POST"),
];

/// Makes the usual calls, with mistakes; returns the secrets in them.
async fn calls(process: &Process, email: &str) -> Vec<String> {
    let client = Client::connect(process.address).await;
    client.register(email, PASSWORD).await.unwrap();
    let session_id = client.login(email, PASSWORD).await.unwrap().session_id;
    for _ in 0..3 {
        client.check(&session_id).await.unwrap();
    }
    client
        .login(email, "canary of a wrong password")
        .await
        .unwrap_err();
    client
        .register("x", "canary of a new password")
        .await
        .unwrap_err();
    client.logout(&session_id).await.unwrap();
    client.check(&session_id).await.unwrap_err();
    let body = frame(b"\x0A\xFFcanary of a malformed message");
    let headers = [("content-type", "application/grpc")];
    let path = "/bienvenue.v1.AuthService/Login";
    raw::h2(&client.channel, "POST", path, &headers, body).await;
    raw::http1(process.address, "OPTIONS", path, &PREFLIGHT, b"").await;
    raw::http1(
        process.address,
        "GET",
        "/nothing?token=canary-of-a-query",
        &[],
        b"",
    )
    .await;
    let mut secrets = forms(process, email).await;
    secrets.push(session_id);
    secrets
}

/// Sends the same as forms, afterwards; returns the secrets in them.
async fn forms(process: &Process, email: &str) -> Vec<String> {
    let mut client = Session::new(process.address);
    let login = [("email", email), ("password", PASSWORD)];
    client.post("/sessions").data(login).await;
    let session_id = client.cookie("session_id").unwrap().to_owned();
    client.get("/profile").await;
    client.post("/users").data(login).await;
    let wrong = [("email", email), ("password", "canary of a wrong password")];
    client.post("/sessions").data(wrong).await;
    let wrong = [("email", "x"), ("password", "canary of a new password")];
    client.post("/users").data(wrong).await;
    let json = r#"{"password":"canary of no form"}"#;
    client.post("/users").body("application/json", json).await;
    let evil = client
        .delete("/sessions")
        .header("origin", "https://canary.example");
    evil.await;
    client.delete("/sessions").await;
    let cookie = client
        .get("/profile")
        .cookies("session_id", "canary of a cookie");
    cookie.await;
    let asked = client
        .post("/reset_password")
        .data([("email", email)])
        .await;
    let token = asked.json()["reset_token"].as_str().unwrap().to_owned();
    let link = format!("/reset_password?email=canary%40example.com&reset_token={token}");
    client.get(&link).await;
    let new_password = ("new_password", "canary of a reset");
    for reset_token in ["canary of a token", &token] {
        let fields = [("email", email), ("reset_token", reset_token), new_password];
        client.put("/reset_password").data(fields).await;
    }
    vec![session_id, token]
}

#[tokio::test(flavor = "multi_thread")]
async fn each_change_and_failure_has_one_line() {
    let folder = tempfile::tempdir().unwrap();
    let settings = [
        "--bcrypt-cost=4",
        "--log-format=json",
        "--cors-origin=https://app.example.com",
        "--reset-delivery=response",
    ];
    let process = Process::start(folder.path(), &settings);
    calls(&process, EMAIL).await;
    process.signal("TERM");
    let (_, log) = process.wait();
    let mut seen: BTreeMap<String, usize> = BTreeMap::new();
    for line in log.lines() {
        let line: Value = serde_json::from_str(line).unwrap_or_else(|_| panic!("{line}"));
        let text = |name: &str| line[name].as_str().map(ToOwned::to_owned);
        assert!(text("timestamp").unwrap().ends_with('Z'), "UTC: {line}");
        if text("message").as_deref() != Some("request") {
            continue;
        }
        assert!(line["duration_us"].is_u64(), "{line}");
        assert!(text("peer").unwrap().starts_with("127.0.0.1:"), "{line}");
        uuid::Uuid::try_parse(&text("request_id").unwrap()).expect("a request id");
        let reason = text("reason").map_or(String::new(), |reason| format!(" {reason}"));
        let what = format!(
            "{} {}{reason}",
            text("method").unwrap(),
            text("code").unwrap()
        );
        *seen.entry(what).or_default() += 1;
    }
    let once = |line: &str| (line.to_owned(), 1);
    let auth = |rest: &str| (format!("bienvenue.v1.AuthService/{rest}"), 1);
    let expected = BTreeMap::from([
        once("DELETE /sessions 302"),
        once("DELETE /sessions 403 CROSS_SITE"),
        once("GET /nothing 404"),
        once("GET /profile 403 SESSION_INVALID"),
        once("POST /reset_password 200"),
        once("POST /sessions 200"),
        once("POST /sessions 401 INVALID_CREDENTIALS"),
        once("POST /users 400 EMAIL_TAKEN"),
        once("POST /users 400 INVALID_FIELD"),
        once("POST /users 400 MALFORMED_REQUEST"),
        once("PUT /reset_password 200"),
        once("PUT /reset_password 403 RESET_TOKEN_INVALID"),
        auth("GetUserBySession UNAUTHENTICATED SESSION_INVALID"),
        auth("Login INVALID_ARGUMENT MALFORMED_REQUEST"),
        auth("Login OK"),
        auth("Login UNAUTHENTICATED INVALID_CREDENTIALS"),
        auth("Logout OK"),
        auth("Register INVALID_ARGUMENT INVALID_FIELD"),
        auth("Register OK"),
    ]);
    assert_eq!(seen, expected);
}

on_each_database! {
    async fn no_secret_is_in_the_log_at_any_level(database: Database) {
        for (format, email) in [("text", "ada@example.com"), ("json", "bob@example.com")] {
            let folder = tempfile::tempdir().unwrap();
            let settings = [
                "--bcrypt-cost=4",
                "--log=trace",
                "--reset-delivery=response",
                "--log-format",
                format,
                "--database-url",
                database.url(),
            ];
            let process = Process::start(folder.path(), &settings);
            let mut secrets = calls(&process, email).await;
            let client = Client::connect(process.address).await;
            for method in methods() {
                let request = method.request_full_of("canary of any field");
                method.call(&client.channel, &request).await;
            }
            process.signal("TERM");
            let (_, log) = process.wait();
            assert!(log.contains("GetUserBySession"), "at trace, checks have a line");
            secrets.extend(["canary", PASSWORD, "$2b$"].map(str::to_owned));
            for secret in secrets {
                let hex: String = secret.bytes().map(|byte| format!("{byte:02x}")).collect();
                for form in [secret, hex] {
                    let line = log.lines().find(|line| line.contains(&form));
                    assert_eq!(line, None, "{form}");
                }
            }
        }
    }
}

/// A flood of unknown `session_id`s does not fill the disk, and is counted.
#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_refusals_is_counted() {
    let folder = tempfile::tempdir().unwrap();
    let settings = ["--bcrypt-cost=4", "--log-format=json"];
    let process = Process::start(folder.path(), &settings);
    let client = Client::connect(process.address).await;
    for _ in 0..500 {
        client.check("sess_unknown").await.unwrap_err();
    }
    // A change is logged regardless.
    client.register(EMAIL, PASSWORD).await.unwrap();
    process.signal("TERM");
    let (_, log) = process.wait();
    let (mut logged, mut counted, mut registrations) = (0, 0, 0);
    for line in log.lines() {
        let line: Value = serde_json::from_str(line).unwrap();
        match (line["reason"].as_str(), line["requests"].as_u64()) {
            (Some("SESSION_INVALID"), _) => logged += 1,
            (_, Some(requests)) => counted += requests,
            _ if line["code"] == "OK" => registrations += 1,
            _ => {}
        }
    }
    assert_eq!(logged + counted, 500);
    // More where the flood took longer than a second.
    assert!(
        (20..500).contains(&logged) && registrations == 1,
        "{logged}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_cannot_break_its_log_line() {
    let folder = tempfile::tempdir().unwrap();
    let process = Process::start(folder.path(), &["--bcrypt-cost=4", "--log-format=json"]);
    raw::http1(process.address, "GET", "/a%0Ab%1B[31m", &[], b"").await;
    // As bytes: a one-character CSI of terminals, a line separator, and a right-to-left
    // override.
    raw::http1(
        process.address,
        "GET",
        "/\u{9B}31mred\u{2028}\u{202E}",
        &[],
        b"",
    )
    .await;
    raw::http1(
        process.address,
        "GET",
        &format!("/{}", "x".repeat(5_000)),
        &[],
        b"",
    )
    .await;
    process.signal("TERM");
    let (_, log) = process.wait();
    for line in log.lines() {
        serde_json::from_str::<Value>(line).unwrap_or_else(|_| panic!("{line}"));
        assert!(line.len() < 1_000, "{line}");
        assert!(
            line.is_ascii() && !line.contains(|c: char| c.is_control()),
            "{line:?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_requests_id_is_returned() {
    let folder = tempfile::tempdir().unwrap();
    // Even where the level suppresses its line.
    let process = Process::start(folder.path(), &["--log=error"]);
    let client = Client::connect(process.address).await;
    let refused = client.check("sess_unknown").await.unwrap_err();
    assert!(refused.metadata().contains_key("x-request-id"));
    drop(process);
    let process = Process::start(folder.path(), &["--log-format=json"]);
    let client = Client::connect(process.address).await;
    let refused = client.check("sess_unknown").await.unwrap_err();
    let request_id = refused
        .metadata()
        .get("x-request-id")
        .unwrap()
        .to_str()
        .unwrap()
        .to_owned();
    process.signal("TERM");
    let (_, log) = process.wait();
    assert!(log.contains(&request_id), "{log}");
}

/// A rule's own lines can be found by the id of the request.
#[tokio::test(flavor = "multi_thread")]
async fn the_lines_of_one_request_have_the_same_id() {
    let database = Database::sqlite();
    let folder = tempfile::tempdir().unwrap();
    let start = |cost: &str| {
        let settings = ["--log-format=json", "--database-url", database.url(), cost];
        Process::start(folder.path(), &settings)
    };
    let process = start("--bcrypt-cost=4");
    let client = Client::connect(process.address).await;
    client.register(EMAIL, PASSWORD).await.unwrap();
    process.signal("TERM");
    process.wait();
    let process = start("--bcrypt-cost=5");
    let client = Client::connect(process.address).await;
    client.login(EMAIL, PASSWORD).await.unwrap();
    process.signal("TERM");
    let (_, log) = process.wait();
    let request_id = |text: &str| {
        let line = log.lines().find(|line| line.contains(text));
        let line: Value = serde_json::from_str(line.unwrap_or_else(|| panic!("{log}"))).unwrap();
        line["request_id"].as_str().unwrap().to_owned()
    };
    let of_rule = request_id("an outdated hash was replaced");
    assert_eq!(of_rule, request_id("bienvenue.v1.AuthService/Login"));
}

/// The cause is not in the reply to a form.
#[tokio::test(flavor = "multi_thread")]
async fn a_fault_has_its_cause_in_the_log() {
    let database = Database::sqlite();
    let folder = tempfile::tempdir().unwrap();
    let settings = [
        "--bcrypt-cost=4",
        "--log-format=json",
        "--database-url",
        database.url(),
    ];
    let process = Process::start(folder.path(), &settings);
    let mut client = Session::new(process.address);
    for path in ["/users", "/sessions"] {
        let fields = [("email", EMAIL), ("password", PASSWORD)];
        let done = client.post(path).data(fields).await;
        assert_eq!(done.status_code, 200);
    }
    database.execute("ALTER TABLE sessions RENAME TO gone");
    let failed = client.delete("/sessions").await;
    assert_eq!(failed.status_code, 503);
    let request_id = failed.header("x-request-id").unwrap();
    process.signal("TERM");
    let (_, log) = process.wait();
    let line = log.lines().find(|line| line.contains(request_id)).unwrap();
    let line: Value = serde_json::from_str(line).unwrap();
    assert_eq!(
        (line["level"].as_str(), line["reason"].as_str()),
        (Some("ERROR"), Some("UNAVAILABLE"))
    );
    assert!(
        line["cause"].as_str().unwrap().contains("sessions"),
        "{line}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trusted_proxys_client_is_logged() {
    let folder = tempfile::tempdir().unwrap();
    for (trusted, client) in [("127.0.0.1", Some("198.51.100.7")), ("10.0.0.0/8", None)] {
        let setting = format!("--trusted-proxies={trusted}");
        let process = Process::start(folder.path(), &["--log-format=json", &setting]);
        // The last address was appended by the proxy; the client may have sent the rest.
        for sent in ["192.0.2.66", "caf\u{E9}", "\u{A0}", ""] {
            let forwarded_for = format!("{sent}, 198.51.100.7");
            let headers = [("x-forwarded-for", forwarded_for.as_str())];
            raw::http1(process.address, "GET", "/nothing", &headers, b"").await;
        }
        process.signal("TERM");
        let (_, log) = process.wait();
        let lines = log.lines().filter(|line| line.contains("/nothing"));
        assert_eq!(lines.clone().count(), 4);
        for line in lines {
            let line: Value = serde_json::from_str(line).unwrap();
            let peer = line["peer"].as_str().unwrap();
            assert!(peer.starts_with("127.0.0.1:"), "{line}");
            assert_eq!(line["client"].as_str(), client, "{line}");
        }
    }
}
