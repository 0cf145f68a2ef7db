//! Sends the same requests to the Flask service and to Bienvenue with `reset-delivery=response`.
//! Their replies are equal, except for the differences in `docs/flask.md`.

mod differences;
mod exchange;

use std::{collections::BTreeSet, fs, time::Duration};

use self::{
    differences::{Difference, without_general_ones},
    exchange::{Answer, Expected, Memory, Request, form, request},
};
use crate::harness::{Database, FlaskService, TestServer, on_each_database};

const AS_FLASK: [&str; 2] = ["--password-min-length=1", "--reset-delivery=response"];

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// Every path of the original, in some spellings, and some that it does not have.
const PATHS: [&str; 9] = [
    "/",
    "/users",
    "/sessions",
    "/profile",
    "/reset_password",
    "/users/",
    "/Profile",
    "/sessions/1",
    "/nothing",
];

const METHODS: [&str; 8] = [
    "GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "BREW",
];

/// The routes that read a form.
const READERS: [(&str, &str); 4] = [
    ("POST", "/users"),
    ("POST", "/sessions"),
    ("POST", "/reset_password"),
    ("PUT", "/reset_password"),
];

fn register() -> Request {
    form("POST", "/users", "email={me}&password=b4l0u")
}

fn log_in() -> Request {
    form("POST", "/sessions", "email={me}&password=b4l0u")
}

fn profile() -> Request {
    request("GET", "/profile").cookie("session_id={session}")
}

fn log_out() -> Request {
    request("DELETE", "/sessions").cookie("session_id={session}")
}

fn ask_for_reset() -> Request {
    form("POST", "/reset_password", "email={me}")
}

fn reset() -> Request {
    let fields = "email={me}&reset_token={token}&new_password=t4rt1fl3tt3";
    form("PUT", "/reset_password", fields)
}

/// Each method of each path, with nothing in the request.
fn routes() -> Vec<Request> {
    let all = PATHS
        .iter()
        .flat_map(|path| METHODS.map(|method| request(method, path)));
    let mut requests: Vec<_> = all
        .map(|request| match (request.method, request.path) {
            ("GET" | "HEAD", "/reset_password") => request.differs(405, 200, Difference::ResetPage),
            _ => request,
        })
        .collect();
    for path in ["/pro%66ile", "//profile"] {
        requests.push(request("GET", path).differs(403, 404, Difference::LiteralPaths));
    }
    requests.push(
        request("GET", "/")
            .header("host", "elsewhere.example")
            .differs(200, 400, Difference::OneHost),
    );
    requests
}

/// The requests of the Flask service's usual clients.
fn main_scenario() -> Vec<Request> {
    vec![
        request("GET", "/"),
        register(),
        register(),
        form("POST", "/sessions", "email={me}&password=wrong"),
        profile(),
        log_in(),
        profile(),
        request("HEAD", "/profile").cookie("session_id={session}"),
        log_out(),
        log_out(),
        profile(),
        request("GET", "/"),
        ask_for_reset(),
        reset(),
        reset(),
        log_in(),
        form("POST", "/sessions", "email={me}&password=t4rt1fl3tt3"),
        profile(),
    ]
}

fn registrations() -> Vec<Request> {
    use Difference::{FieldsFirst, NothingTruncated, OneSpelling, OnlyAddresses, PasswordPolicy};
    let users = |body: &str| form("POST", "/users", body);
    let long = |length: usize| {
        format!(
            "email={length}{{me}}&password={}",
            "kP3 x".repeat(20)[..length].replace(' ', "+")
        )
    };
    vec![
        users(""),
        users("email=1{me}"),
        users("password=b4l0u").differs(200, 400, OnlyAddresses),
        users("email=&password=b4l0u").differs(200, 400, OnlyAddresses),
        users("email=not-an-address&password=b4l0u").differs(200, 400, OnlyAddresses),
        users("email=2{me}&password=").differs(200, 400, PasswordPolicy),
        users("email=3{me}&password=3{me}").differs(200, 400, PasswordPolicy),
        users("email=4{me}&password=123456").differs(200, 400, PasswordPolicy),
        users("email=5{me}&password=a%00b").differs(200, 400, PasswordPolicy),
        users("email=6{me}&password=p%C3%A4ssw%C3%B6rt+%E2%9C%93"),
        form(
            "POST",
            "/sessions",
            "email=6{me}&password=p%C3%A4ssw%C3%B6rt+%E2%9C%93",
        ),
        users(&long(72)),
        users(&long(73)).differs(500, 200, NothingTruncated),
        register(),
        users("email={me}&password=another"),
        users("email={me}").differs(400, 400, FieldsFirst),
        users("email=+{me}+&password=b4l0u").differs(200, 400, OneSpelling),
        users("email=E7{me}&password=b4l0u"),
        users("email=e7{me}&password=b4l0u").differs(200, 400, OneSpelling),
        form("POST", "/sessions", "email=E7{me}&password=b4l0u"),
        profile().differs(200, 200, OneSpelling),
        users("email=eve@b%C3%BCcher.example&password=b4l0u"),
    ]
}

fn logins() -> Vec<Request> {
    use Difference::{LoginsTellNothing, OneSpelling, OtherDevices};
    let sessions = |body| form("POST", "/sessions", body);
    vec![
        sessions(""),
        sessions("email={me}").differs(401, 400, LoginsTellNothing),
        sessions("email={me}&password=b4l0u"),
        register(),
        sessions("email={me}"),
        sessions("password=b4l0u"),
        sessions("email=&password=b4l0u"),
        sessions("email={me}&password="),
        sessions("email=&password="),
        sessions("email=no-address&password=b4l0u"),
        sessions("email={me}&password=B4L0U"),
        sessions("email={me}&password=b4l0u+"),
        sessions("&&email={me}&password=%62%34l0u&unknown=1&"),
        request("POST", "/sessions?email={me}&password=b4l0u"),
        sessions("email=USER{me}&password=b4l0u"),
        form("POST", "/users", "email=user{me}&password=b4l0u"),
        sessions("email=USER{me}&password=b4l0u").differs(401, 200, OneSpelling),
        log_in(),
        log_in(),
        request("GET", "/profile")
            .cookie("session_id={session1}")
            .differs(403, 200, OtherDevices),
        log_in().cookie("session_id={session}"),
        profile(),
    ]
}

/// Another user logs in where this one is logged in.
fn a_shared_browser() -> Vec<Request> {
    let other = "email=other{me}&password=b4l0u";
    let first = || request("GET", "/profile").cookie("session_id={session1}");
    vec![
        register(),
        form("POST", "/users", other),
        log_in(),
        form("POST", "/sessions", "email=other{me}&password=no").cookie("session_id={session1}"),
        first(),
        form("POST", "/sessions", other).cookie("session_id={session1}"),
        profile(),
        first().differs(200, 403, Difference::ReplacedSession),
    ]
}

fn cookies() -> Vec<Request> {
    use Difference::{EqualCookies, UnquotedCookies};
    let mut requests = vec![register(), log_in()];
    for method in ["GET", "DELETE"] {
        let path = if method == "GET" {
            "/profile"
        } else {
            "/sessions"
        };
        for cookie in [
            "",
            "session_id",
            "session_id=",
            "session_id=None",
            "session_id=unknown",
            "Session_id={session}",
            "other={session}",
        ] {
            requests.push(request(method, path).cookie(cookie));
        }
    }
    let profile = || request("GET", "/profile");
    requests.extend([
        profile().cookie("a=b;session_id={session};c=d"),
        profile().cookie("session_id={session}; session_id={session}"),
        profile().cookie("session_id={session}; session_id=other"),
        profile()
            .cookie("session_id=other; session_id={session}")
            .differs(403, 200, EqualCookies),
        profile()
            .cookie("session_id=\"{session}\"")
            .differs(200, 403, UnquotedCookies),
        request("POST", "/profile").cookie("session_id={session}"),
        log_out(),
    ]);
    requests
}

fn resets() -> Vec<Request> {
    use Difference::{OwnToken, PasswordPolicy, ResetEndsSessions};
    let ask = |body| form("POST", "/reset_password", body);
    let put = |body| form("PUT", "/reset_password", body);
    vec![
        ask(""),
        ask("email="),
        ask("email=no-address"),
        ask("email=%22%3E%3Cscript%3E"),
        ask("email=+{me}"),
        ask_for_reset(),
        register(),
        log_in(),
        ask_for_reset(),
        ask_for_reset(),
        put(""),
        put("email={me}"),
        put("email={me}&new_password=t4rt1fl3tt3"),
        put("email={me}&reset_token=&new_password=t4rt1fl3tt3"),
        put("email={me}&reset_token=None&new_password=t4rt1fl3tt3"),
        put("email={me}&reset_token={token1}&new_password=t4rt1fl3tt3"),
        put("email={me}&reset_token={token}"),
        put("email={me}&reset_token={token}&new_password=").differs(200, 400, PasswordPolicy),
        form("POST", "/reset_password", "email={me}"),
        put("email=other{me}&reset_token={token}&new_password=t4rt1fl3tt3")
            .differs(200, 403, OwnToken),
        form("POST", "/reset_password", "email={me}"),
        reset(),
        reset(),
        profile().differs(200, 403, ResetEndsSessions),
    ]
}

/// Bodies that are no forms, or unusual ones.
fn bodies() -> Vec<Request> {
    use Difference::{LargeForms, OnlyUrlencoded, StrictForms};
    let fields = "email={me}&password=b4l0u";
    let mut requests = vec![register()];
    for (method, path) in READERS {
        for (content_type, body) in [
            ("application/json", r#"{"email":"{me}","password":"b4l0u"}"#),
            ("application/json", ""),
            ("text/plain", fields),
            ("", fields),
            ("application/x-www-form-urlencodedx", fields),
        ] {
            requests.push(request(method, path).body(content_type, body));
        }
    }
    let sessions = || request("POST", "/sessions");
    let parts = "--b\r\nContent-Disposition: form-data; name=\"email\"\r\n\r\n{me}\r\n\
                 --b\r\nContent-Disposition: form-data; name=\"password\"\r\n\r\nb4l0u\r\n--b--\r\n";
    let large = format!("{fields}&unknown={}", "x".repeat(20_000));
    let chunked = "1a\r\nemail=bodies%40example.com\r\nf\r\n&password=b4l0u\r\n0\r\n\r\n";
    requests.extend([
        sessions().body("application/x-www-form-urlencoded; charset=utf-8", fields),
        sessions().body("Application/X-WWW-Form-Urlencoded", fields),
        sessions()
            .body("application/x-www-form-urlencoded; charset=latin-1", fields)
            .differs(200, 400, StrictForms),
        form("POST", "/sessions", fields)
            .header("content-encoding", "gzip")
            .differs(200, 400, StrictForms),
        form(
            "POST",
            "/sessions",
            "email={me}&password=b4l0u&password=other",
        )
        .differs(200, 400, StrictForms),
        form("POST", "/sessions", "email={me}&password=caf%E9").differs(401, 400, StrictForms),
        form(
            "POST",
            "/sessions",
            b"email=ada@example.com&password=caf\xE9",
        ),
        form("POST", "/users", "email=percent{me}&password=100%+%zz%4"),
        form(
            "POST",
            "/sessions",
            "email=percent{me}&password=100%25+%25zz%254",
        ),
        form("POST", "/sessions", "email={me};password=b4l0u").differs(
            401,
            400,
            Difference::LoginsTellNothing,
        ),
        form("POST", "/sessions", "email&password"),
        form("POST", "/sessions", chunked).header("transfer-encoding", "chunked"),
        form("POST", "/sessions", large).differs(200, 413, LargeForms),
        sessions()
            .body("multipart/form-data; boundary=b", parts)
            .differs(200, 400, OnlyUrlencoded),
        log_in()
            .header("origin", "https://elsewhere.example")
            .differs(200, 403, Difference::OtherOrigins),
    ]);
    requests
}

/// What Bienvenue ends in time.
fn time() -> Vec<Request> {
    use Difference::TimeLimits;
    let token = "email={me}&reset_token={token}&new_password=b4l0u";
    vec![
        register(),
        log_in(),
        ask_for_reset(),
        form("PUT", "/reset_password", token)
            .later(DAY / 24)
            .differs(200, 403, TimeLimits),
        log_in(),
        profile().later(8 * DAY).differs(200, 403, TimeLimits),
    ]
}

/// Compares two answers; returns the difference, if there is one.
fn compare(
    request: &Request,
    original: &Answer,
    own: &Answer,
    seen: &mut BTreeSet<Difference>,
) -> Option<String> {
    let statuses = (original.status, own.status);
    let rest = without_general_ones(request, original, own, seen);
    let complaint = match request.expected {
        Expected::Equal => (rest != *original).then(|| "differ".to_owned()),
        Expected::Differs(there, here, why) => {
            seen.insert(why);
            (statuses != (there, here) || rest == *original)
                .then(|| format!("do not differ as in {:?} ({there}, {here})", why.title()))
        }
    };
    // A request for two hosts is refused before its path is looked at.
    let is_served = !matches!(request.expected, Expected::Differs(.., Difference::OneHost));
    let complaint = complaint.or_else(|| {
        (is_served && own.reason != own.reason.to_uppercase())
            .then(|| "have reasons of two kinds".to_owned())
    })?;
    Some(format!(
        "{} {complaint}:\n    {original:?}\n    {own:?}",
        request.summary()
    ))
}

on_each_database! {
    async fn replies_equal_those_of_the_flask_service(database: Database) {
        let Some(flask) = FlaskService::start() else {
            return;
        };
        let server = TestServer::start_with(&database, &AS_FLASK).await;
        let conversations = [
            ("routes", routes()),
            ("main-scenario", main_scenario()),
            ("logins", logins()),
            ("browser", a_shared_browser()),
            ("cookies", cookies()),
            ("resets", resets()),
            ("bodies", bodies()),
            // The original has accounts without an address from here on.
            ("registrations", registrations()),
            ("time", time()),
        ];
        let (mut seen, mut complaints) = (BTreeSet::new(), Vec::new());
        for (name, requests) in conversations {
            let email = format!("{name}@example.com");
            let (mut there, mut here) = (Memory::new(email.clone()), Memory::new(email));
            for request in requests {
                server.clock.advance(request.later);
                let original = request.send(flask.address, &mut there).await;
                let own = request.send(server.address, &mut here).await;
                complaints.extend(compare(&request, &original, &own, &mut seen));
            }
        }
        let unseen = Difference::ALL.iter().filter(|one| !seen.contains(one));
        complaints.extend(unseen.map(|one| format!("{:?} does not occur", one.title())));
        assert!(complaints.is_empty(), "{}", complaints.join("\n"));
    }
}

#[test]
fn each_difference_has_its_reason() {
    let page = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/flask.md"));
    let page = page.expect("docs/flask.md");
    let rows = page
        .lines()
        .filter(|line| line.starts_with("| ") && !line.contains("| the original |"));
    let rows: Vec<Vec<&str>> = rows
        .map(|row| row.trim_matches('|').split(" | ").map(str::trim).collect())
        .collect();
    let titles: Vec<&str> = Difference::ALL.iter().map(|one| one.title()).collect();
    let found: Vec<&str> = rows.iter().map(|row| row[0]).collect();
    assert_eq!(found, titles);
    for row in rows {
        assert!(
            row.len() == 4 && row.iter().all(|cell| !cell.is_empty()),
            "{row:?}"
        );
    }
}
