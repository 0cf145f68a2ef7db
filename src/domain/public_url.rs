//! The public URL of the service.

use std::{fmt, str::FromStr};

use thiserror::Error;
use url::{Host, Url};

/// The URL of the service in browsers: `http` or `https`, a host, and optionally a port and
/// a path. Links and cookies depend on it alone, never on a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublicUrl(Url);

/// The text is not such a URL.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error(
    "write http:// or https://, a host and perhaps a port and a path, such as \
     https://accounts.example.com"
)]
pub struct PublicUrlError;

impl FromStr for PublicUrl {
    type Err = PublicUrlError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut url = Url::parse(text).map_err(|_| PublicUrlError)?;
        let is_plain = matches!(url.scheme(), "http" | "https")
            && url.host().is_some()
            && url.username().is_empty()
            && url.password().is_none()
            && url.query().is_none()
            && url.fragment().is_none();
        if !is_plain {
            return Err(PublicUrlError);
        }
        let path = url.path().trim_end_matches('/').to_owned();
        url.set_path(&path);
        Ok(Self(url))
    }
}

impl PublicUrl {
    /// The default: this machine, without TLS.
    pub fn localhost(port: u16) -> Self {
        let text = format!("http://localhost:{port}");
        Self(Url::parse(&text).expect("a URL"))
    }

    /// Whether browsers use TLS.
    pub fn is_https(&self) -> bool {
        self.0.scheme() == "https"
    }

    /// Whether requests can be read in transit: without TLS, and from another machine.
    pub fn is_readable(&self) -> bool {
        let is_local = match self.0.host() {
            Some(Host::Domain(name)) => name == "localhost" || name.ends_with(".localhost"),
            Some(Host::Ipv4(address)) => address.is_loopback(),
            Some(Host::Ipv6(address)) => address.is_loopback(),
            None => false,
        };
        !self.is_https() && !is_local
    }

    /// The name or address of the host.
    pub fn host(&self) -> String {
        match self.0.host() {
            Some(Host::Domain(name)) => name.to_owned(),
            Some(Host::Ipv4(address)) => address.to_string(),
            Some(Host::Ipv6(address)) => format!("[{address}]"),
            None => String::new(),
        }
    }

    /// Scheme, host and port as browsers write them in an `Origin`.
    pub fn origin(&self) -> String {
        self.0.origin().ascii_serialization()
    }

    /// The path of the URL with a `/` at the end, as the target of redirects. A proxy may
    /// strip the path from requests.
    pub fn home(&self) -> String {
        let path = format!("{}/", self.0.path().trim_end_matches('/'));
        match path.starts_with("//") {
            // A path that begins with `//` would name another host.
            true => format!("{}{path}", self.origin()),
            false => path,
        }
    }

    /// A link to a path below it, with parameters.
    pub fn link<'a>(
        &self,
        path: &str,
        parameters: impl IntoIterator<Item = (&'a str, &'a str)>,
    ) -> String {
        let mut url = self.0.clone();
        let base = url.path().trim_end_matches('/').to_owned();
        url.set_path(&format!("{base}/{path}"));
        url.query_pairs_mut().extend_pairs(parameters);
        url.into()
    }
}

impl fmt::Display for PublicUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.as_str().trim_end_matches('/'))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> PublicUrl {
        text.parse().unwrap_or_else(|_| panic!("{text}"))
    }

    #[test]
    fn urls_are_parsed() {
        for (text, shown, origin, host) in [
            (
                "http://localhost:50051",
                "http://localhost:50051",
                "http://localhost:50051",
                "localhost",
            ),
            (
                "https://A.Example.com:443/",
                "https://a.example.com",
                "https://a.example.com",
                "a.example.com",
            ),
            (
                "https://example.com/auth/",
                "https://example.com/auth",
                "https://example.com",
                "example.com",
            ),
            ("http://[::1]:80", "http://[::1]", "http://[::1]", "[::1]"),
        ] {
            let url = parse(text);
            assert_eq!(
                (
                    url.to_string().as_str(),
                    url.origin().as_str(),
                    url.host().as_str()
                ),
                (shown, origin, host)
            );
            assert_eq!(url.is_https(), text.starts_with("https"));
        }
        for text in [
            "",
            "localhost:50051",
            "example.com",
            "ftp://example.com",
            "https://",
            "//example.com",
            "https://ada@example.com",
            "https://:secret@example.com",
            "https://example.com?x",
            "https://example.com/#x",
            "javascript:alert(1)",
        ] {
            assert_eq!(text.parse::<PublicUrl>(), Err(PublicUrlError), "{text}");
        }
    }

    #[test]
    fn redirects_lead_to_its_path() {
        for (url, home) in [
            ("http://localhost:1", "/"),
            ("https://example.com/", "/"),
            ("https://example.com/auth", "/auth/"),
            ("https://example.com/a/b c/", "/a/b%20c/"),
            (
                "https://example.com//evil.example",
                "https://example.com//evil.example/",
            ),
        ] {
            assert_eq!(parse(url).home(), home, "{url}");
        }
    }

    #[test]
    fn links_are_below_it_and_encoded() {
        let parameters = [
            ("email", "o'neil+a&b=c@example.com"),
            ("reset_token", "rst_x-_"),
        ];
        assert_eq!(
            parse("https://example.com/auth").link("reset_password", parameters),
            "https://example.com/auth/reset_password\
             ?email=o%27neil%2Ba%26b%3Dc%40example.com&reset_token=rst_x-_"
        );
        assert_eq!(
            parse("http://localhost:1").link("reset_password", []),
            "http://localhost:1/reset_password?"
        );
    }
}
