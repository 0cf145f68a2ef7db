//! The address of a request's client, where the service runs behind proxies.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use axum::http::{HeaderMap, HeaderName, HeaderValue};
use ipnet::IpNet;

const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// The client's address: the peer's, or, where the peer is a trusted proxy, the last untrusted
/// hop of `X-Forwarded-For`. Any client can forge the hops before that.
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
            // The proxy sent the request itself, or hides its client.
            None => break,
        }
    }
    client
}

/// Parses a hop as proxies write it: an address, with or without a port; IPv6 with or
/// without brackets.
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
    fn only_trusted_proxies_may_forward_an_address() {
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
            // All are trusted: the first hop.
            (&["10.0.0.9, 10.0.0.2"], "10.0.0.9"),
            // A missing or invalid hop ends the search.
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
        // A client's own invalid header does not hide the hop that the proxy appends.
        for sent in [&b"\xFF"[..], b"caf\xC3\xA9", b"\xA0"] {
            let appended = [sent, b",\t198.51.100.7"].concat();
            assert_eq!(client("10.0.0.1", trusted, &[appended]), "198.51.100.7");
            let line = b"198.51.100.7".to_vec();
            let lines = [sent.to_vec(), line];
            assert_eq!(client("10.0.0.1", trusted, &lines), "198.51.100.7");
        }
    }
}
