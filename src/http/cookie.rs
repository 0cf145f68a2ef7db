//! The cookie that proves a session to the form routes.

use std::time::Duration;

use axum::http::{HeaderMap, HeaderValue, header};
use cookie::{Cookie, CookieBuilder, SameSite, time};

use crate::domain::{PublicUrl, SessionToken};

/// How the cookie is written and read: by what browsers know the service by,
/// never by what a request says of itself.
pub(super) struct SessionCookie {
    name: &'static str,
    secure: bool,
    max_age: time::Duration,
}

impl SessionCookie {
    pub(super) fn new(public_url: &PublicUrl, session_absolute: Duration) -> Self {
        let secure = public_url.is_https();
        Self {
            // With the prefix, nobody but this host can have set it, through
            // TLS (RFC 6265bis, 4.1.3.2); without, a neighbour could.
            name: if secure {
                "__Host-session_id"
            } else {
                "session_id"
            },
            secure,
            max_age: session_absolute.try_into().unwrap_or(time::Duration::MAX),
        }
    }

    /// The `session_id` that a request presents. Two values under the name are
    /// none: one of them was planted. One value twice is what `requests` sends
    /// when its jar and its caller have the same cookie.
    pub(super) fn read<'a>(&self, headers: &'a HeaderMap) -> Option<&'a str> {
        let mut found = None;
        for header in headers.get_all(header::COOKIE) {
            // What cannot be read might be the name again.
            let header = str::from_utf8(header.as_bytes()).ok()?;
            let cookies = Cookie::split_parse(header).filter_map(Result::ok);
            for cookie in cookies.filter(|cookie| cookie.name() == self.name) {
                let value = cookie.value_raw()?;
                if found.replace(value).is_some_and(|before| before != value) {
                    return None;
                }
            }
        }
        found
    }

    /// Hands a `session_id` to its owner.
    pub(super) fn set(&self, session_id: &SessionToken) -> HeaderValue {
        self.header(session_id.expose(), self.max_age)
    }

    /// Takes it away.
    pub(super) fn clear(&self) -> HeaderValue {
        self.header("", time::Duration::ZERO)
    }

    fn header(&self, value: &str, max_age: time::Duration) -> HeaderValue {
        let cookie: CookieBuilder<'_> = Cookie::build((self.name, value))
            .http_only(true)
            .same_site(SameSite::Lax)
            .secure(self.secure)
            .path("/")
            .max_age(max_age);
        let mut header = HeaderValue::try_from(cookie.to_string()).expect("a header in ASCII");
        // Neither shown nor remembered for header compression.
        header.set_sensitive(true);
        header
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cookie(url: &str) -> SessionCookie {
        SessionCookie::new(&url.parse().unwrap(), Duration::from_secs(60))
    }

    #[test]
    fn what_is_written() {
        let token = SessionToken::generate().unwrap();
        let text = token.expose();
        let [plain, tls] = ["http://localhost:1", "https://example.com"].map(cookie);
        assert_eq!(
            plain.set(&token),
            format!("session_id={text}; HttpOnly; SameSite=Lax; Path=/; Max-Age=60").as_str()
        );
        assert_eq!(
            tls.set(&token),
            format!("__Host-session_id={text}; HttpOnly; SameSite=Lax; Secure; Path=/; Max-Age=60")
                .as_str()
        );
        assert_eq!(
            tls.clear(),
            "__Host-session_id=; HttpOnly; SameSite=Lax; Secure; Path=/; Max-Age=0"
        );
        assert!(!format!("{:?}", plain.set(&token)).contains(text));
    }

    #[test]
    fn what_is_read() {
        let [plain, tls] = ["http://localhost:1", "https://example.com"].map(cookie);
        for (headers, in_plain, in_tls) in [
            (&[][..], None, None),
            (&["session_id=a"][..], Some("a"), None),
            (&["__Host-session_id=a"], None, Some("a")),
            (&["session_id=a; __Host-session_id=b"], Some("a"), Some("b")),
            (&["x=1;session_id=a;y=2"], Some("a"), None),
            (&["x=1", "session_id=a"], Some("a"), None),
            (&["Session_id=a; session_id2=b; asession_id=c"], None, None),
            (&["session_id=a; session_id=a"], Some("a"), None),
            (&["session_id=a", "x=1; session_id=a"], Some("a"), None),
            (&["session_id=a; session_id=a; session_id=b"], None, None),
            (&["session_id=a; session_id=\"a\""], None, None),
            (&["session_id=a; session_id="], None, None),
            (&["session_id=a; session_id=b"], None, None),
            (&["session_id=a", "session_id=b"], None, None),
            (&["session_id=; session_id=b"], None, None),
            (&["session_id"], None, None),
            (&["session_id="], Some(""), None),
            (&["session_id=\"a\""], Some("\"a\""), None),
            (&["session_id=a%20b=c"], Some("a%20b=c"), None),
        ] {
            let mut map = HeaderMap::new();
            for header in headers {
                map.append(header::COOKIE, header.parse().unwrap());
            }
            assert_eq!(
                (plain.read(&map), tls.read(&map)),
                (in_plain, in_tls),
                "{headers:?}"
            );
        }
        let mut map = HeaderMap::new();
        let bytes = HeaderValue::from_bytes(b"x=\xC3\xA9; session_id=a").unwrap();
        map.append(header::COOKIE, bytes);
        assert_eq!(plain.read(&map), Some("a"));
        map.append(header::COOKIE, HeaderValue::from_bytes(b"x=\xFF").unwrap());
        assert_eq!(plain.read(&map), None);
    }
}
