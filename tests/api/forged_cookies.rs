//! Cookies planted by a sibling host: the victim is neither logged in as another user nor
//! locked out, and can always log out.

use crate::harness::{
    Database, EMAIL, PASSWORD, TestServer,
    http1::Http1Connection,
    on_each_database,
    raw::{self, Http1Response},
    requests::Session,
};

const PUBLIC: &str = "https://accounts.example.com";
const NAME: &str = "__Host-session_id";
const MALLORY: &str = "mallory@example.com";

/// Every character of Unicode's White_Space, every ASCII control allowed in a line, and other
/// invisible characters.
const BLANKS: [char; 57] = [
    ' ', '\t', '\u{B}', '\u{C}', '\u{1}', '\u{2}', '\u{3}', '\u{4}', '\u{5}', '\u{6}', '\u{7}',
    '\u{8}', '\u{E}', '\u{F}', '\u{10}', '\u{11}', '\u{12}', '\u{13}', '\u{14}', '\u{15}',
    '\u{16}', '\u{17}', '\u{18}', '\u{19}', '\u{1A}', '\u{1B}', '\u{1C}', '\u{1D}', '\u{1E}',
    '\u{1F}', '\u{7F}', '\u{85}', '\u{A0}', '\u{1680}', '\u{2000}', '\u{2001}', '\u{2002}',
    '\u{2003}', '\u{2004}', '\u{2005}', '\u{2006}', '\u{2007}', '\u{2008}', '\u{2009}', '\u{200A}',
    '\u{2028}', '\u{2029}', '\u{202F}', '\u{205F}', '\u{3000}', '\u{180E}', '\u{200B}', '\u{200C}',
    '\u{200D}', '\u{2060}', '\u{FEFF}', '\u{AD}',
];

/// A server with two users; returns a session of the victim and one of the attacker.
async fn start(database: &Database, public_url: &str) -> (TestServer, String, String) {
    let server = TestServer::start_with(database, &["--public-url", public_url]).await;
    let _ = server.client.register(EMAIL, PASSWORD).await;
    let _ = server.client.register(MALLORY, PASSWORD).await;
    let victim = server.login().await.session_id;
    let attacker = server.client.login(MALLORY, PASSWORD).await.unwrap();
    (server, victim, attacker.session_id)
}

async fn send(server: &TestServer, method: &str, path: &str, cookies: &[&str]) -> Http1Response {
    let headers: Vec<_> = cookies.iter().map(|cookie| ("cookie", *cookie)).collect();
    raw::http1(server.address, method, path, &headers, b"").await
}

/// The user of a request with these `Cookie` headers.
async fn user_of(server: &TestServer, cookies: &[&str]) -> Option<String> {
    let response = send(server, "GET", "/profile", cookies).await;
    let headers: Vec<_> = cookies.iter().map(|cookie| ("cookie", *cookie)).collect();
    // Control characters are a protocol error, which would end the HTTP/2 connection.
    if response.status != 400 {
        let second = raw::h2(&server.client.channel, "GET", "/profile", &headers, vec![]).await;
        assert_eq!(second.status(), response.status, "{cookies:?}");
    }
    if response.status != 200 {
        assert!(matches!(response.status, 400 | 403), "{response:?}");
        return None;
    }
    let profile: serde_json::Value = serde_json::from_slice(&response.body).unwrap();
    Some(profile["email"].as_str().unwrap().to_owned())
}

on_each_database! {
    /// A browser lets a sibling host set a cookie whose name differs from the protected one by
    /// white space. It strips SP and HTAB before its own check.
    async fn white_space_is_part_of_a_name(database: Database) {
        let (server, victim, attacker) = start(&database, PUBLIC).await;
        let own = format!("{NAME}={victim}");
        for blank in BLANKS {
            let is_trimmed = matches!(blank, ' ' | '\t');
            for forged in [
                format!("{blank}{NAME}={attacker}"),
                format!("{NAME}{blank}={attacker}"),
                format!("a=b; {blank}{NAME}={attacker}"),
                format!("a=b;{blank}{NAME}={attacker}"),
                format!("{blank}{blank}{NAME}={attacker}; a=b"),
            ] {
                let taken = user_of(&server, &[&forged]).await;
                let expected = is_trimmed.then(|| MALLORY.to_owned());
                assert_eq!(taken, expected, "{forged:?}");
                let both = format!("{own}; {forged}");
                if !is_trimmed && !blank.is_ascii_control() {
                    assert_eq!(user_of(&server, &[&both]).await.as_deref(), Some(EMAIL), "{both:?}");
                    let two = [forged.as_str(), own.as_str()];
                    assert_eq!(user_of(&server, &two).await.as_deref(), Some(EMAIL), "{two:?}");
                }
            }
        }
        // Invalid UTF-8 hides no other cookie, and is part of a name.
        for byte in [0x85, 0xA0, 0xFF] {
            let (own, byte) = (own.as_bytes(), &[byte][..]);
            let cases: [(&[&[u8]], u16); 5] = [
                (&[b"x=", byte, b"; ", own], 200),
                (&[own, b"; x=", byte], 200),
                (&[own, b"\r\ncookie: ", byte, b"=x"], 200),
                (&[byte, own], 403),
                (&[own, byte], 403),
            ];
            for (cookies, status) in cases {
                let mut request = b"GET /profile HTTP/1.1\r\nhost: x\r\ncookie: ".to_vec();
                request.extend(cookies.concat());
                request.extend(b"\r\n\r\n");
                let connection = Http1Connection::open(server.address).await;
                let (response, _) = connection.exchange(request).await;
                assert_eq!(response.map(|response| response.status), Some(status), "{cookies:?}");
            }
        }
    }

    /// A name twice in one request, in every form.
    async fn a_name_given_twice(database: Database) {
        for (url, name) in [(PUBLIC, NAME), ("http://localhost:50051", "session_id")] {
            let (server, victim, attacker) = start(&database, url).await;
            let (own, other) = (format!("{name}={victim}"), format!("{name}={attacker}"));
            let second = server.login().await.session_id;
            let dead = format!("sess_{}", "A".repeat(43));
            let loud = name.to_uppercase();
            let one = |parts: &[&str]| vec![parts.join("; ")];
            for (cookies, expected) in [
                // Valid sessions of two users: neither is accepted.
                (one(&[&own, &other]), None),
                (one(&[&other, &own]), None),
                (one(&[&own, &other, &own]), None),
                (vec![own.clone(), other.clone()], None),
                (vec![other.clone(), own.clone()], None),
                (vec![own.clone(), "a=b".to_owned(), other.clone()], None),
                (vec![format!("{own};{other}")], None),
                (vec![format!("{own};;{other}")], None),
                (vec![format!(";{own} ;\t{other};")], None),
                (vec![format!("{own}; {name} = {attacker}")], None),
                // Invalid values are ignored.
                (one(&[&own, &own]), Some(EMAIL)),
                (vec![own.clone(), own.clone()], Some(EMAIL)),
                (one(&[&own, &format!("{name}={second}")]), Some(EMAIL)),
                (one(&[&format!("{name}={dead}"), &own]), Some(EMAIL)),
                (one(&[&own, &format!("{name}={dead}")]), Some(EMAIL)),
                (one(&[&format!("{name}="), &own]), Some(EMAIL)),
                (one(&[name, &own]), Some(EMAIL)),
                (one(&[&format!("{name}=x"), &own]), Some(EMAIL)),
                (one(&[&format!("{loud}={attacker}"), &own]), Some(EMAIL)),
                (one(&[&format!("{name}=\"{attacker}\""), &own]), Some(EMAIL)),
                (one(&[&format!("{name}==\"{attacker}\""), &own]), Some(EMAIL)),
                (one(&[&format!("x={other}"), &own]), Some(EMAIL)),
                (one(&[&format!("={other}"), &own]), Some(EMAIL)),
                (one(&[&format!("{name}%20={attacker}"), &own]), Some(EMAIL)),
                (one(&[&format!("%5F{}={attacker}", &name[1..]), &own]), Some(EMAIL)),
                (one(&[&format!("{name}={attacker}\u{FF}"), &own]), Some(EMAIL)),
                // Another name.
                (vec![format!("{other}, {own}")], None),
                (vec![format!("{name}:{victim}")], None),
                (vec![victim.clone()], None),
            ] {
                let cookies: Vec<_> = cookies.iter().map(String::as_str).collect();
                assert_eq!(user_of(&server, &cookies).await.as_deref(), expected, "{cookies:?}");
            }
        }
    }

    /// A logout works with any planted cookies.
    async fn a_logout_ends_every_session_presented(database: Database) {
        for (url, name) in [(PUBLIC, NAME), ("http://localhost:50051", "session_id")] {
            for is_first in [true, false] {
                for in_one in [true, false] {
                    let (server, victim, attacker) = start(&database, url).await;
                    let mut values = [victim.clone(), attacker.clone(), "x".to_owned()];
                    if is_first {
                        values.reverse();
                    }
                    let pairs: Vec<_> = values.iter().map(|value| format!("{name}={value}")).collect();
                    let joined = pairs.join("; ");
                    let cookies: Vec<_> = match in_one {
                        true => vec![joined.as_str()],
                        false => pairs.iter().map(String::as_str).collect(),
                    };
                    let away = send(&server, "DELETE", "/sessions", &cookies).await;
                    assert_eq!(away.status, 302, "{away:?}");
                    assert!(away.header("set-cookie").unwrap().starts_with(&format!("{name}=;")));
                    server.client.expect_no_session(&victim).await;
                    server.client.expect_no_session(&attacker).await;
                    let again = send(&server, "DELETE", "/sessions", &cookies).await;
                    assert_eq!(again.status, 403);
                    server.stop().await;
                }
            }
        }
    }

    /// Over plain http, where a sibling host can plant a cookie of the same name: one login
    /// restores access, although the planted cookie stays.
    async fn a_login_makes_planted_cookies_worthless(database: Database) {
        let (server, victim, attacker) = start(&database, "http://localhost:50051").await;
        let planted = format!("session_id={attacker}");
        let mut browser = Session::new(server.address);
        let own = format!("session_id={victim}");
        assert_eq!(user_of(&server, &[&planted, &own]).await, None);
        let fields = [("email", EMAIL), ("password", PASSWORD)];
        let login = browser
            .post("/sessions")
            .header("cookie", &planted)
            .header("cookie", &own)
            .data(fields)
            .await;
        assert_eq!(login.status_code, 200);
        server.client.expect_no_session(&victim).await;
        server.client.expect_no_session(&attacker).await;
        let fresh = format!("session_id={}", login.cookie("session_id").unwrap());
        assert_eq!(user_of(&server, &[&planted, &fresh]).await.as_deref(), Some(EMAIL));
        // A failed login ends no session.
        let wrong = [("email", EMAIL), ("password", "wrong")];
        let refused = browser.post("/sessions").header("cookie", &planted).data(wrong).await;
        assert_eq!(refused.status_code, 401);
        assert_eq!(user_of(&server, &[&fresh]).await.as_deref(), Some(EMAIL));
    }

    /// The number of values that are looked up in one request is limited.
    async fn a_request_with_too_many_values_is_refused(database: Database) {
        let (server, victim, _) = start(&database, PUBLIC).await;
        let made_up = |n: usize| format!("{NAME}=sess_{n:A>42}A");
        let own = format!("{NAME}={victim}");
        for (many, expected) in [(15, Some(EMAIL)), (16, None), (100, None)] {
            let mut cookies: Vec<_> = (0..many).map(made_up).collect();
            cookies.push(own.clone());
            let joined = cookies.join("; ");
            assert_eq!(user_of(&server, &[&joined]).await.as_deref(), expected, "{many}");
        }
    }
}
