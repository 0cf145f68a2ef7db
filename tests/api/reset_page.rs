//! The page behind the link in a mail, and its request.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use sha2::{Digest as _, Sha256};
use tonic::Code;

use crate::harness::{
    Database, Expect as _, NEW_PASSWORD, PASSWORD, TestServer, on_each_database,
    raw::{self, Http1Response},
    requests::form,
};

const PATH: &str = "/reset_password";

/// A browser's headers when a link in web mail is followed.
const FOLLOWED: [(&str, &str); 2] = [
    ("sec-fetch-site", "cross-site"),
    ("sec-fetch-mode", "navigate"),
];

async fn open(server: &TestServer, method: &str, query: &str) -> Http1Response {
    let path = format!("{PATH}{query}");
    let response = raw::http1(server.address, method, &path, &FOLLOWED, b"").await;
    assert_eq!(response.status, 200, "{query}");
    response
}

/// The text of an element that the page has once.
fn only<'a>(page: &'a str, element: &str) -> &'a str {
    let (before, rest) = page.split_once(&format!("<{element}>")).unwrap();
    let (text, after) = rest.split_once(&format!("</{element}>")).unwrap();
    for other in [before, after] {
        assert!(
            !other.contains(&format!("<{element}")),
            "a second {element}"
        );
    }
    text
}

/// The page's own request, from a public URL.
async fn submit(server: &TestServer, origin: &str, email: &str, token: &str) -> Http1Response {
    let headers = [
        (
            "content-type",
            "application/x-www-form-urlencoded;charset=UTF-8",
        ),
        ("sec-fetch-site", "same-origin"),
        ("sec-fetch-mode", "cors"),
        ("origin", origin),
    ];
    let body = form(&[
        ("email", email),
        ("reset_token", token),
        ("new_password", NEW_PASSWORD),
    ]);
    raw::http1(server.address, "PUT", PATH, &headers, body.as_bytes()).await
}

on_each_database! {
    /// Loading the page changes nothing, since mail scanners do it, too.
    async fn the_page_sets_a_new_password(database: Database) {
        for (email, public_url) in [
            ("ada@example.com", None),
            ("bob@example.com", Some("https://example.com/accounts")),
        ] {
            let setting = public_url.map(|url| format!("--public-url={url}"));
            let settings: Vec<&str> = setting.as_deref().into_iter().collect();
            let server = TestServer::start_with(&database, &settings).await;
            server.client.register(email, PASSWORD).await.unwrap();
            let before = server.client.login(email, PASSWORD).await.unwrap().session_id;
            server.client.request_password_reset(email).await.unwrap();
            let mail = server.outbox.next().await;
            let token = mail.reset_token();
            let local = format!("http://localhost:{}", server.address.port());
            // The proxy strips the path of the public URL.
            let link = mail.reset_link();
            let below = link.strip_prefix(public_url.unwrap_or(&local)).unwrap();
            for method in ["HEAD", "GET", "GET"] {
                open(&server, method, below.strip_prefix(PATH).unwrap()).await;
            }
            server.client.check(&before).await.expect("the session is open");

            let origin = public_url.map_or(local, |_| "https://example.com".to_owned());
            let other = submit(&server, &origin, "eve@example.com", &token).await;
            assert_eq!(other.status, 403);
            let done = submit(&server, &origin, email, &token).await;
            assert_eq!(done.status, 200, "{done:?}");
            server.client.login(email, NEW_PASSWORD).await.unwrap();
            server
                .client
                .login(email, PASSWORD)
                .await
                .expect_refusal(Code::Unauthenticated, "INVALID_CREDENTIALS");
            assert_eq!(submit(&server, &origin, email, &token).await.status, 403);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_of_the_request_is_in_the_page() {
    let database = Database::sqlite();
    let server = TestServer::start(&database).await;
    let page = open(&server, "GET", "").await;
    for query in [
        "?",
        "?email=ada%40example.com&reset_token=rst_x",
        "?email=%3Cscript%3Ealert(1)%3C/script%3E&reset_token=%22%3E",
        "?reset_token=a&reset_token=b&%FF",
    ] {
        let other = open(&server, "GET", query).await;
        assert_eq!(other.text(), page.text(), "{query}");
        assert_eq!(other.header("set-cookie"), None);
    }
    let head = open(&server, "HEAD", "?email=x").await;
    assert_eq!(head.text(), "");
    let without_date = |response: &Http1Response| {
        let mut headers = response.headers.clone();
        headers.retain(|(name, _)| name != "date");
        headers
    };
    assert_eq!(without_date(&head), without_date(&page));
    let length = page.text().len().to_string();
    assert_eq!(head.header("content-length"), Some(length.as_str()));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_pages_policy_allows_only_its_own_script_and_style() {
    let database = Database::sqlite();
    let server = TestServer::start(&database).await;
    let page = open(&server, "GET", "").await;
    for (name, value) in [
        ("content-type", "text/html; charset=utf-8"),
        ("cache-control", "no-store"),
        ("x-content-type-options", "nosniff"),
        ("referrer-policy", "no-referrer"),
    ] {
        assert_eq!(page.header(name), Some(value));
    }
    let text = page.text();
    let [script, style] = ["script", "style"].map(|element| {
        let digest = Sha256::digest(only(text, element));
        format!("'sha256-{}'", STANDARD.encode(digest))
    });
    let policy = format!(
        "default-src 'none'; script-src {script}; style-src {style}; connect-src 'self'; \
         form-action 'none'; base-uri 'none'; frame-ancestors 'none'"
    );
    assert_eq!(
        page.header("content-security-policy"),
        Some(policy.as_str())
    );
    // A browser hashes lines that end in \n; the policy forbids external resources and
    // scripts in attributes.
    for forbidden in [
        "\r",
        "src=",
        "href=",
        "style=",
        "onclick=",
        "onsubmit=",
        "://",
    ] {
        assert!(!text.contains(forbidden), "{forbidden:?}");
    }
}
