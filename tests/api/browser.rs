//! What a real browser lets a neighbour do.

use crate::harness::{
    Database, EMAIL, PASSWORD, TestServer,
    chromium::Chromium,
    relay::{Relay, serve_page},
    requests::form,
};

const SERVICE: &str = "accounts.example.localhost";
const NEIGHBOUR: &str = "blog.example.localhost";
const MALLORY: &str = "mallory@example.com";

/// What the service's own page does once the neighbour's has planted its cookie.
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

/// A page on a sibling host sets a cookie whose name begins with U+2000 and goes on like
/// ours. The browser lets it pass, since to the browser it is another name.
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
    let told: Vec<_> = exchanges
        .iter()
        .map(|exchange| (exchange.line.as_str(), exchange.response.status))
        .collect();
    assert_eq!(
        told,
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
        .expect("nobody touched it");
}
