//! The address of the client of a request, where proxies stand in front of the service.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use axum::http::{HeaderMap, HeaderName, HeaderValue};
use ipnet::IpNet;

const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// The address that a request comes from: the peer's, or, where the peer is a trusted
/// proxy, the last hop of `X-Forwarded-For` that is not a trusted proxy. Hops before
/// that one can be forged by any client.
pub(crate) fn of_request(peer: IpAddr, trusted_proxies: &[IpNet], headers: &HeaderMap) -> IpAddr {
    let values = headers.get_all(FORWARDED_FOR).iter();
    last_untrusted(peer, trusted_proxies, values.map(HeaderValue::as_bytes))
}

fn last_untrusted<'a>(
    peer: IpAddr,
    trusted_proxies: &[IpNet],
    forwarded_for: impl DoubleEndedIterator<Item = &'a [u8]>,
) -> IpAddr {
    let is_trusted = |ip: &IpAddr| trusted_proxies.iter().any(|network| network.contains(ip));
    let mut client = peer;
    let mut hops = forwarded_for
        .rev()
        .flat_map(|value| value.rsplit(|byte| *byte == b','));
    while is_trusted(&client) {
        match hops.next().and_then(parse_hop) {
            Some(ip) => client = ip,
            // The request is the proxy's own, or the proxy hides its client.
            None => break,
        }
    }
    client
}

/// An address as proxies write it: alone, or with a port; IPv6 perhaps in brackets.
fn parse_hop(bytes: &[u8]) -> Option<IpAddr> {
    let text = str::from_utf8(bytes).ok()?.trim_matches([' ', '\t']);
    let bracketed = text
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'));
    let ip = match bracketed {
        Some(bare) => bare.parse::<Ipv6Addr>().map(IpAddr::from).ok()?,
        None => text
            .parse::<IpAddr>()
            .or_else(|_| text.parse::<SocketAddr>().map(|address| address.ip()))
            .ok()?,
    };
    Some(ip.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client<T: AsRef<[u8]>>(address: &str, trusted: &[&str], forwarded_for: &[T]) -> String {
        let trusted: Vec<IpNet> = trusted.iter().map(|text| text.parse().unwrap()).collect();
        let address: SocketAddr = format!("{address}:4711").parse().unwrap();
        let hops = forwarded_for.iter().map(AsRef::as_ref);
        last_untrusted(address.ip().to_canonical(), &trusted, hops).to_string()
    }

    #[test]
    fn only_a_trusted_proxy_is_believed() {
        let forged = &["192.0.2.66"][..];
        assert_eq!(client("198.51.100.1", &[], forged), "198.51.100.1");
        assert_eq!(
            client("198.51.100.1", &["10.0.0.0/8"], forged),
            "198.51.100.1"
        );
        assert_eq!(client("10.0.0.1", &["10.0.0.0/8"], forged), "192.0.2.66");
        assert_eq!(
            client("[::ffff:10.0.0.1]", &["10.0.0.0/8"], forged),
            "192.0.2.66"
        );
    }

    #[test]
    fn the_last_hop_that_is_not_trusted_is_the_client() {
        let trusted = &["10.0.0.0/8", "2001:db8::/32"][..];
        for (forwarded_for, expected) in [
            (&["192.0.2.66, 198.51.100.7"][..], "198.51.100.7"),
            (&["192.0.2.66", "198.51.100.7,10.0.0.2"], "198.51.100.7"),
            (&["198.51.100.7:1234, [2001:db8::2]:443"], "198.51.100.7"),
            (&["198.51.100.7, [2001:db8::2]"], "198.51.100.7"),
            (&["::ffff:198.51.100.7"], "198.51.100.7"),
            (&["2001:db9::1"], "2001:db9::1"),
            // All are trusted: the one that is farthest away.
            (&["10.0.0.9, 10.0.0.2"], "10.0.0.9"),
            // Nothing, or nothing that can be read: nothing beyond it counts.
            (&[], "10.0.0.1"),
            (&[""], "10.0.0.1"),
            (&["198.51.100.7, unknown"], "10.0.0.1"),
            (&["198.51.100.7, , 10.0.0.2"], "10.0.0.2"),
            (&["198.51.100.7, [10.0.0.2]"], "10.0.0.1"),
            (&["192.0.2.66, \u{2000}198.51.100.7"], "10.0.0.1"),
        ] {
            assert_eq!(
                client("10.0.0.1", trusted, forwarded_for),
                expected,
                "{forwarded_for:?}"
            );
        }
        // What a client sends itself hides nothing of what the proxy appends.
        for sent in [&b"\xFF"[..], b"caf\xC3\xA9", b"\xA0"] {
            let appended = [sent, b",\t198.51.100.7"].concat();
            assert_eq!(client("10.0.0.1", trusted, &[appended]), "198.51.100.7");
            let line = b"198.51.100.7".to_vec();
            let lines = [sent.to_vec(), line];
            assert_eq!(client("10.0.0.1", trusted, &lines), "198.51.100.7");
        }
    }
}
