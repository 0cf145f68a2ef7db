//! The session cookie of the form routes.

use std::time::Duration;

use axum::http::{HeaderMap, HeaderValue, header};
use cookie::{Cookie, CookieBuilder, SameSite, time};

use crate::domain::{PublicUrl, SessionToken};

/// The largest number of `session_id`s accepted in one request: far more than a browser
/// sends, and few enough to be checked one by one.
const MAX_VALUES: usize = 16;

/// Writes and reads the cookie. Its name depends on the public URL, never on the request.
pub(crate) struct SessionCookie {
    name: &'static str,
    secure: bool,
    max_age: time::Duration,
}

impl SessionCookie {
    pub(crate) fn new(public_url: &PublicUrl, session_absolute: Duration) -> Self {
        let secure = public_url.is_https();
        Self {
            // Only this host can set a cookie with the prefix, over TLS (RFC 6265bis,
            // 4.1.3.2). One without it can be set by sibling hosts.
            name: if secure {
                "__Host-session_id"
            } else {
                "session_id"
            },
            secure,
            max_age: session_absolute.try_into().unwrap_or(time::Duration::MAX),
        }
    }

    /// The different `session_id`s in a request, in their order; none if there are more
    /// than 16.
    ///
    /// There may be several: over plain http a sibling host can plant a cookie of the same
    /// name, and the request does not tell which of the two is the service's. Malformed
    /// values are left out.
    ///
    /// Names are compared byte for byte. A browser refuses `__Host-session_id` to every
    /// other host, but accepts any other name from it. Trimming or decoding more than the
    /// browser does would make such a name equal to this one.
    pub(crate) fn read<'a>(&self, headers: &'a HeaderMap) -> Vec<&'a str> {
        let mut found = Vec::new();
        let headers = headers.get_all(header::COOKIE).iter();
        for value in headers.flat_map(|header| self.values(header.as_bytes())) {
            let Ok(value) = str::from_utf8(value) else {
                continue;
            };
            if found.contains(&value) || SessionToken::parse(value).is_none() {
                continue;
            }
            if found.len() == MAX_VALUES {
                return Vec::new();
            }
            found.push(value);
        }
        found
    }

    /// The values of all cookies of this name in one header.
    fn values<'a>(&self, header: &'a [u8]) -> impl Iterator<Item = &'a [u8]> {
        let pairs = header.split(|byte| *byte == b';');
        pairs.filter_map(|pair| {
            let at = pair.iter().position(|byte| *byte == b'=')?;
            let (name, value) = (trim(&pair[..at]), trim(&pair[at + 1..]));
            (name == self.name.as_bytes()).then_some(value)
        })
    }

    /// The header that sets the cookie.
    pub(crate) fn set(&self, session_id: &SessionToken) -> HeaderValue {
        self.header(session_id.expose(), self.max_age)
    }

    /// The header that deletes the cookie.
    pub(crate) fn clear(&self) -> HeaderValue {
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
        // Excludes it from debug output and from header compression.
        header.set_sensitive(true);
        header
    }
}

/// Trims SP and HTAB (RFC 6265bis, 5.6), as browsers do before they look at a name, and
/// nothing else.
fn trim(bytes: &[u8]) -> &[u8] {
    let is_kept = |byte: &u8| !matches!(byte, b' ' | b'\t');
    let Some(start) = bytes.iter().position(is_kept) else {
        return &[];
    };
    let end = bytes
        .iter()
        .rposition(is_kept)
        .map_or(start, |last| last + 1);
    &bytes[start..end]
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A valid `session_id` made of one letter.
    fn id(letter: char) -> String {
        format!("sess_{}A", letter.to_string().repeat(42))
    }

    /// Replaces `{a}` and `{b}` by `session_id`s.
    fn filled(text: &str) -> String {
        text.replace("{a}", &id('a')).replace("{b}", &id('b'))
    }

    fn read(cookie: &SessionCookie, headers: &[&[u8]]) -> String {
        let mut map = HeaderMap::new();
        for header in headers {
            map.append(header::COOKIE, HeaderValue::from_bytes(header).unwrap());
        }
        let found = cookie.read(&map).into_iter();
        found.map(|id| &id[5..6]).collect()
    }

    fn cookie(url: &str) -> SessionCookie {
        SessionCookie::new(&url.parse().unwrap(), Duration::from_secs(60))
    }

    #[test]
    fn cookies_are_written_by_the_public_url() {
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
    fn cookies_are_read_by_the_public_url() {
        let [plain, tls] = ["http://localhost:1", "https://example.com"].map(cookie);
        for (headers, in_plain, in_tls) in [
            (&[][..], "", ""),
            (&["session_id={a}"][..], "a", ""),
            (&["__Host-session_id={a}"], "", "a"),
            (&["session_id={a}; __Host-session_id={b}"], "a", "b"),
            (&["x=1;session_id={a};y=2"], "a", ""),
            (&["x=1", "session_id={a}"], "a", ""),
            (
                &["Session_id={a}; session_id2={b}; asession_id={b}"],
                "",
                "",
            ),
            (&["session_id={a}; session_id={a}"], "a", ""),
            (&["session_id={a}", "x=1; session_id={a}"], "a", ""),
            (
                &["session_id={a}; session_id={b}; session_id={a}"],
                "ab",
                "",
            ),
            (&["session_id={b}", "session_id={a}"], "ba", ""),
            (&["session_id= {a}\t;\t session_id \t={b}"], "ab", ""),
            (&[";session_id={a};;session_id={b};"], "ab", ""),
            (&["session_id=; session_id={b}; session_id"], "b", ""),
            (
                &["session_id=\"{a}\"; session_id={a}b; session_id=%73{a}"],
                "",
                "",
            ),
            (&["session_id={a}, session_id={b}"], "", ""),
            (
                &["=session_id={a}; x=session_id={a}; session%5Fid={a}"],
                "",
                "",
            ),
        ] {
            let headers: Vec<_> = headers.iter().map(|header| filled(header)).collect();
            let bytes: Vec<_> = headers.iter().map(String::as_bytes).collect();
            let found = (read(&plain, &bytes), read(&tls, &bytes));
            assert_eq!(
                found,
                (in_plain.to_owned(), in_tls.to_owned()),
                "{headers:?}"
            );
        }
    }

    #[test]
    fn only_sp_and_htab_are_trimmed_from_a_name() {
        let tls = cookie("https://example.com");
        let own = filled("__Host-session_id={a}");
        let is_blank = |c: &char| c.is_whitespace() || c.is_control();
        for blank in ('\0'..='\u{FFFF}').filter(is_blank) {
            let expected = usize::from(matches!(blank, ' ' | '\t'));
            for forged in [
                filled(&format!("{blank}__Host-session_id={{b}}")),
                filled(&format!("__Host-session_id{blank}={{b}}")),
                filled(&format!("x=1;{blank}__Host-session_id={{b}}")),
            ] {
                // As bytes, since a header with a control character is invalid.
                let found = tls.values(forged.as_bytes()).count();
                assert_eq!(found, expected, "{forged:?}");
            }
        }
        for byte in 0x80..=0xFF {
            let own = own.as_bytes();
            assert_eq!(read(&tls, &[&[&[byte], own].concat()]), "");
            assert_eq!(read(&tls, &[&[own, &[byte]].concat()]), "");
            assert_eq!(
                read(&tls, &[&[b"x=", &[byte][..], b";", own].concat()]),
                "a"
            );
            assert_eq!(read(&tls, &[own, &[byte]]), "a");
        }
    }

    #[test]
    fn too_many_values_count_as_none() {
        let plain = cookie("http://localhost:1");
        let many = |count: u8| -> String {
            let ids = (b'A'..b'A' + count).map(|letter| id(char::from(letter)));
            ids.map(|id| format!("session_id={id};")).collect()
        };
        assert_eq!(read(&plain, &[many(16).as_bytes()]).len(), 16);
        assert_eq!(read(&plain, &[many(17).as_bytes()]), "");
    }
}
