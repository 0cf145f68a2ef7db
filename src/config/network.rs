use std::{
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use clap::{Args, ValueEnum};
use ipnet::IpNet;
use url::Url;

use super::values;
use crate::domain::PublicUrl;

/// The listener and its clients.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Network")]
pub struct NetworkSettings {
    /// Address and port for gRPC, gRPC-Web and HTTP; port 0 picks a free one
    #[arg(
        long,
        env = "BIENVENUE_LISTEN",
        value_name = "ADDRESS",
        default_value = "127.0.0.1:50051",
        value_parser = address
    )]
    pub listen: SocketAddr,

    /// URL under which browsers reach the service: used in links in mails and redirects,
    /// for cookies and for cross-site checks [default: http://localhost:PORT]
    #[arg(long, env = "BIENVENUE_PUBLIC_URL", value_name = "URL")]
    pub public_url: Option<PublicUrl>,

    /// Network (CIDR) or address of proxies in front, whose X-Forwarded-For is trusted;
    /// repeat the flag, or separate by commas, for several [default: none]
    #[arg(
        long,
        env = "BIENVENUE_TRUSTED_PROXIES",
        value_name = "NETWORK",
        value_delimiter = ',',
        value_parser = network
    )]
    pub trusted_proxies: Vec<IpNet>,

    /// Whether clients may list the methods (server reflection); auto is on for a
    /// loopback address, unless public-url is https or there are trusted-proxies
    #[arg(
        long,
        env = "BIENVENUE_REFLECTION",
        value_name = "WHEN",
        default_value = "auto",
        value_enum,
        ignore_case = true
    )]
    pub reflection: Reflection,

    /// Web origin (scheme, host, port) whose pages may call through gRPC-Web,
    /// compared exactly; repeat the flag, or separate by commas, for several
    /// [default: none]
    #[arg(
        long,
        env = "BIENVENUE_CORS_ORIGIN",
        value_name = "ORIGIN",
        value_delimiter = ',',
        value_parser = origin
    )]
    pub cors_origin: Vec<String>,

    /// Name of a request header that pages of cors-origin may send besides those of
    /// gRPC-Web, Connect, OpenTelemetry and other tracing; repeat the flag, or
    /// separate by commas, for several [default: none]
    #[arg(
        long,
        env = "BIENVENUE_CORS_HEADER",
        value_name = "NAME",
        value_delimiter = ',',
        value_parser = header
    )]
    pub cors_header: Vec<String>,

    /// How long requests are still served after SIGTERM, SIGINT or SIGHUP while the
    /// health is NOT_SERVING, so that load balancers choose other nodes first; a second
    /// signal ends the wait
    #[arg(
        long,
        env = "BIENVENUE_SHUTDOWN_DELAY",
        value_name = "DURATION",
        default_value = "0s",
        value_parser = values::duration_or_none
    )]
    pub shutdown_delay: Duration,

    /// How long requests in progress may continue after SIGTERM, SIGINT or SIGHUP, and
    /// after shutdown-delay
    #[arg(
        long,
        env = "BIENVENUE_SHUTDOWN_TIMEOUT",
        value_name = "DURATION",
        default_value = "10s",
        value_parser = values::duration
    )]
    pub shutdown_timeout: Duration,
}

/// When server reflection is served.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Reflection {
    /// On a loopback address, unless there is a proxy in front: with a public URL of https,
    /// for which a proxy has to terminate TLS, or with trusted proxies.
    Auto,
    /// Always. YAML converts on to true.
    #[value(alias = "true")]
    On,
    /// Never. YAML converts off to false.
    #[value(alias = "false")]
    Off,
}

impl NetworkSettings {
    /// The URL that browsers use, for the port of the listener.
    pub fn public_url(&self, port: u16) -> PublicUrl {
        match &self.public_url {
            Some(url) => url.clone(),
            None => PublicUrl::localhost(port),
        }
    }

    /// Whether a listener serves reflection.
    pub fn reflects(&self, listen: SocketAddr) -> bool {
        match self.reflection {
            Reflection::Auto => listen.ip().is_loopback() && !self.is_behind_proxy(),
            Reflection::On => true,
            Reflection::Off => false,
        }
    }

    /// Whether the settings imply a proxy in front, so that a loopback address does not mean
    /// that all clients are on this machine.
    fn is_behind_proxy(&self) -> bool {
        let is_https = self.public_url.as_ref().is_some_and(PublicUrl::is_https);
        is_https || !self.trusted_proxies.is_empty()
    }
}

/// A network, or an address as the network of that address alone.
fn network(text: &str) -> Result<IpNet, String> {
    let text = text.trim();
    text.parse()
        .or_else(|_| text.parse().map(|address: IpAddr| address.into()))
        .map_err(|_| "write a network or an address, such as 10.0.0.0/8 or ::1".to_owned())
}

pub(super) fn address(text: &str) -> Result<SocketAddr, String> {
    // A name would have to be looked up, except localhost.
    let numeric = match text.strip_prefix("localhost:") {
        Some(port) => format!("127.0.0.1:{port}"),
        None => text.to_owned(),
    };
    numeric
        .parse()
        .map_err(|_| "write IP:PORT, such as 127.0.0.1:50051 or [::1]:50051".to_owned())
}

/// An origin exactly as browsers send it (RFC 6454, 6.2): scheme, host in lower case and
/// Punycode, and a port unless it is the scheme's default; neither a path nor a wildcard.
fn origin(text: &str) -> Result<String, String> {
    let text = text.trim();
    let sent = Url::parse(text)
        .ok()
        .filter(|url| matches!(url.scheme(), "http" | "https"))
        .map(|url| url.origin().ascii_serialization())
        // The parser accepts it as a character of a host.
        .filter(|sent| !sent.contains('*'));
    match sent {
        Some(sent) if sent == text => Ok(sent),
        Some(sent) => Err(format!(
            "write {sent}, the origin that browsers send for it: lower case, no default port, no \
             path"
        )),
        None => Err(
            "write an origin as browsers send it, such as https://app.example.com: no path, no *"
                .to_owned(),
        ),
    }
}

/// The name of a header (RFC 9110, 5.1): a token except `*`, which would be a wildcard.
fn header(text: &str) -> Result<String, String> {
    let is_letter = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'+-.^_`|~".contains(&byte);
    if !text.is_empty() && text.bytes().all(is_letter) {
        return Ok(text.to_ascii_lowercase());
    }
    Err("write the name of one request header, such as x-tenant: no value, no *".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn header_names_are_parsed() {
        assert_eq!(header("X-Tenant"), Ok("x-tenant".to_owned()));
        for wrong in ["", "*", "x-*", "x tenant", "x-tenant: a", "x,y", "t\u{E9}"] {
            assert!(header(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn addresses_networks_and_origins_are_parsed() {
        assert!(address("127.0.0.1:0").is_ok() && address("[::1]:1").is_ok());
        assert_eq!(address("localhost:5"), address("127.0.0.1:5"));
        for wrong in ["", "50051", ":50051", "example.com:1", "127.0.0.1"] {
            assert!(address(wrong).is_err(), "{wrong}");
        }
        for right in ["10.0.0.0/8", "::1", "2001:db8::/32", "192.0.2.1"] {
            assert!(network(right).is_ok(), "{right}");
        }
        for wrong in ["", "*", "10.0.0.0/33", "10.0.0", "proxy.example.com"] {
            assert!(network(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn origins_are_those_that_browsers_send() {
        for right in [
            "https://app.example.com",
            "http://localhost:3000",
            "https://a.example:8443",
            "http://a.example:443",
            "http://[::1]:3000",
            "https://192.0.2.1",
            "https://xn--bcher-kva.example",
        ] {
            assert_eq!(origin(&format!(" {right} ")), Ok(right.to_owned()));
        }
        for wrong in [
            "",
            "*",
            "null",
            "app.example.com",
            "localhost:3000",
            "https://",
            "https://:::",
            "https://a.example:65536",
            "https://*.example.com",
            "ftp://a.example",
            "file:///a",
        ] {
            let advice = origin(wrong).unwrap_err();
            assert!(advice.contains("such as https://"), "{wrong}: {advice}");
        }
        for (wrong, sent) in [
            ("https://a.example:443", "https://a.example"),
            ("http://a.example:80", "http://a.example"),
            ("https://a.example/", "https://a.example"),
            ("https://A.example", "https://a.example"),
            ("https://ada:hunter2@a.example/?b#c", "https://a.example"),
            ("https:a.example", "https://a.example"),
            (
                "https://b\u{FC}cher.example",
                "https://xn--bcher-kva.example",
            ),
            ("http://[0::1]:3000", "http://[::1]:3000"),
        ] {
            let advice = origin(wrong).unwrap_err();
            assert!(advice.starts_with(&format!("write {sent}, ")), "{advice}");
        }
    }
}
