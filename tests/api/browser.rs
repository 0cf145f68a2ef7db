//! Attacks from a sibling host, and calls of a page, in a real browser.

use bienvenue::proto::v1::RequestPasswordResetRequest;

use crate::harness::{
    Database, EMAIL, PASSWORD, TestServer,
    chromium::Chromium,
    raw::framed,
    relay::{Relay, serve_page},
    requests::form,
};

const SERVICE: &str = "accounts.example.localhost";
const NEIGHBOUR: &str = "blog.example.localhost";
const MALLORY: &str = "mallory@example.com";

/// The requests of the service's own page after the sibling's has planted its cookie.
const STEPS: &str = "
    const send = (method, path, body) => fetch(path, {
        method, body, redirect: 'manual',
        headers: body && { 'content-type': 'application/x-www-form-urlencoded' },
    });
    (async () => {
        await send('GET', '/profile');
        await send('POST', '/sessions', CREDENTIALS);
        await send('GET', '/profile');
        await send('DELETE', '/sessions');
        await send('GET', '/profile');
        await send('GET', '/done');
    })();";

/// A page on a sibling host sets a cookie whose name is U+2000 followed by the service's.
/// The browser accepts it, since to the browser the names differ.
#[tokio::test(flavor = "multi_thread")]
async fn a_page_on_a_sibling_host_cannot_forge_the_cookie() {
    let relay = Relay::bind(SERVICE).await;
    let origin = format!("https://{SERVICE}:{}", relay.port);
    let database = Database::sqlite();
    let server = TestServer::start_with(&database, &["--public-url", &origin]).await;
    server.register().await;
    server.client.register(MALLORY, PASSWORD).await.unwrap();
    let forged = server
        .client
        .login(MALLORY, PASSWORD)
        .await
        .unwrap()
        .session_id;
    let planted = format!(
        "<script>
            document.cookie = '\\u2000__Host-session_id={forged}; Domain=example.localhost; Path=/';
            location.replace('{origin}/page');
        </script>"
    );
    let credentials = form(&[("email", EMAIL), ("password", PASSWORD)]);
    let steps = STEPS.replace("CREDENTIALS", &format!("'{credentials}'"));
    let mut relaying = relay.to(server.address, "/page", format!("<script>{steps}</script>"));
    let port = serve_page(planted).await;
    let Some(browser) = Chromium::open(&format!("http://{NEIGHBOUR}:{port}/")) else {
        return;
    };
    let exchanges = relaying.until("GET /done").await;
    let name = "\u{2000}__Host-session_id=";
    let is_sent = |cookies: &[u8]| {
        cookies
            .windows(name.len())
            .any(|bytes| bytes == name.as_bytes())
    };
    for exchange in &exchanges {
        let is_there = is_sent(&exchange.cookies);
        assert!(
            is_there,
            "the browser did not send it: {exchange:?}\n{}",
            browser.log()
        );
    }
    let reports: Vec<_> = exchanges
        .iter()
        .map(|exchange| (exchange.line.as_str(), exchange.response.status))
        .collect();
    assert_eq!(
        reports,
        [
            // Not logged in as the attacker.
            ("GET /profile", 403),
            ("POST /sessions", 200),
            // Not locked out.
            ("GET /profile", 200),
            ("DELETE /sessions", 302),
            ("GET /profile", 403),
        ]
    );
    assert!(exchanges[2].response.text().contains(EMAIL));
    server
        .client
        .check(&forged)
        .await
        .expect("the session is open");
}

/// Calls of a page whose libraries add headers. The page reports to its own server the status
/// of each, and whether there was a message.
const TRACED_CALLS: &str = "
    const call = async (method, body) => {
        const response = await fetch(`SERVICE/bienvenue.v1.AuthService/${method}`, {
            method: 'POST',
            headers: {
                'content-type': 'application/grpc-web+proto',
                'x-grpc-web': '1',
                'x-user-agent': 'connect-es/2.0.0',
                'grpc-timeout': '5S',
                'connect-protocol-version': '1',
                'traceparent': '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01',
                'tracestate': 'a=b',
                'baggage': 'a=b',
                'b3': '0',
                'sentry-trace': '0',
                'x-request-id': '1',
                'x-tenant': 'one',
            },
            body: new Uint8Array(body),
        });
        const { length } = new Uint8Array(await response.arrayBuffer());
        return `${response.status}-${response.headers.get('grpc-status')}-${length > 5}`;
    };
    (async () => {
        let report;
        try {
            const refused = await call('Logout', [0, 0, 0, 0, 0]);
            report = `${refused}-${await call('RequestPasswordReset', BODY)}`;
        } catch (error) {
            report = `failed-${error.message.replace(/ /g, '_')}`;
        }
        await fetch(`/report/${report}`);
        await fetch('/done');
    })();";

/// OpenTelemetry and connect-web add headers to each call.
#[tokio::test(flavor = "multi_thread")]
async fn cors_allows_tracing_headers() {
    let relay = Relay::bind(NEIGHBOUR).await;
    let origin = format!("https://{NEIGHBOUR}:{}", relay.port);
    let settings = ["--cors-origin", &origin, "--cors-header=x-tenant"];
    let database = Database::sqlite();
    let server = TestServer::start_with(&database, &settings).await;
    let request = RequestPasswordResetRequest {
        email: EMAIL.to_owned(),
    };
    let service = Relay::bind(SERVICE).await;
    let steps = TRACED_CALLS
        .replace("SERVICE", &format!("https://{SERVICE}:{}", service.port))
        .replace("BODY", &format!("{:?}", framed(&request)));
    let _service = service.to(server.address, "/page", String::new());
    // The paths of the page's reports get a 404.
    let mut own = relay.to(server.address, "/page", format!("<script>{steps}</script>"));
    let Some(browser) = Chromium::open(&format!("{origin}/page")) else {
        return;
    };
    let exchanges = own.until("GET /done").await;
    let reports: Vec<&str> = exchanges
        .iter()
        .map(|exchange| exchange.line.as_str())
        .collect();
    assert_eq!(
        reports,
        ["GET /report/200-16-false-200-null-true"],
        "{}",
        browser.log()
    );
}
