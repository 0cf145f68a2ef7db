//! Who is at the other end of a connection.

mod reply_room;
mod traffic;

use std::{
    fmt,
    net::{IpAddr, Ipv6Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use ipnet::IpNet;
use thiserror::Error;

pub use self::{
    reply_room::{ReplyMemory, ReplyRoom},
    traffic::{CoarseClock, RequestPermit, Traffic, WaitingReply},
};
use crate::domain::Client;

/// How long to stay away from a connection that is full.
const RETRY_CONNECTION: Duration = Duration::from_secs(1);

/// What is known of a connection and of who uses it; every request that comes
/// over it carries this.
#[derive(Clone, Debug)]
pub struct Peer {
    address: SocketAddr,
    client_ip: IpAddr,
    traffic: Arc<Traffic>,
    is_over_limit: bool,
}

impl Peer {
    /// The peer of a connection with this traffic.
    pub fn new(address: SocketAddr, traffic: Arc<Traffic>) -> Self {
        Self {
            address,
            client_ip: address.ip().to_canonical(),
            traffic,
            is_over_limit: false,
        }
    }

    /// The address that connected.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// A number that no other open connection has.
    pub fn connection(&self) -> usize {
        Arc::as_ptr(&self.traffic).addr()
    }

    /// The address that the request comes from: the peer's, or what a trusted
    /// proxy says.
    pub fn client_ip(&self) -> IpAddr {
        self.client_ip
    }

    /// What its connection has in progress.
    pub fn traffic(&self) -> &Arc<Traffic> {
        &self.traffic
    }

    /// The peer as a request shows it that came while the connection had its share in
    /// progress.
    pub fn over_limit(self) -> Self {
        let is_over_limit = true;
        Self {
            is_over_limit,
            ..self
        }
    }

    /// Whether the connection had its share in progress when the request came.
    pub fn is_over_limit(&self) -> bool {
        self.is_over_limit
    }

    /// Who logs in with a request that has this header `User-Agent`. It is in
    /// whatever bytes its sender likes (RFC 9110, 5.5): those that are no UTF-8
    /// are replaced.
    pub fn client(&self, user_agent: Option<&[u8]>) -> Client {
        let user_agent = String::from_utf8_lossy(user_agent.unwrap_or_default());
        Client::new(&user_agent, self.client_ip)
    }

    /// The peer as one request shows it. Where the peer is a trusted proxy, the
    /// client is the last hop in `forwarded_for` (the values of
    /// `X-Forwarded-For`, in their order) that is not one too: what stands
    /// before that, anybody may have written, in whatever bytes.
    pub fn of_request<'a>(
        &self,
        trusted_proxies: &[IpNet],
        forwarded_for: impl DoubleEndedIterator<Item = &'a [u8]>,
    ) -> Self {
        let is_trusted = |ip: &IpAddr| trusted_proxies.iter().any(|network| network.contains(ip));
        let mut client_ip = self.client_ip;
        let mut hops = forwarded_for
            .rev()
            .flat_map(|value| value.rsplit(|byte| *byte == b','));
        while is_trusted(&client_ip) {
            match hops.next().and_then(parse_hop) {
                Some(ip) => client_ip = ip,
                // The proxy itself, or one that hides whom it speaks for.
                None => break,
            }
        }
        Self {
            client_ip,
            ..self.clone()
        }
    }
}

/// A limit that requests of every protocol are held to, and how whoever is over
/// it is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum OverLimit {
    /// More requests in progress than one connection may have.
    #[error("too many requests at once on this connection; wait for some, or open another")]
    ConnectionFull,
    /// Replies wait to be sent, and there is no room for more of them.
    #[error("too many replies wait to be read; read those of this connection and try again")]
    RepliesUnread,
    /// A request took longer than it may.
    #[error("the request took longer than the server allows")]
    TooSlow,
}

impl OverLimit {
    /// The case in one word, for programs and the log.
    pub fn reason(self) -> &'static str {
        match self {
            Self::ConnectionFull | Self::RepliesUnread => "OVERLOADED",
            Self::TooSlow => "DEADLINE_EXCEEDED",
        }
    }

    /// When to try again, where that helps.
    pub fn retry_after(self) -> Option<Duration> {
        (self != Self::TooSlow).then_some(RETRY_CONNECTION)
    }
}

/// The network that one party is given to connect from, and so whatever is counted by
/// where requests come from: an IPv4 address, or the /64 that an IPv6 address lies in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Network(IpAddr);

impl Network {
    /// The network of an address.
    pub fn of(address: IpAddr) -> Self {
        Self(match address.to_canonical() {
            IpAddr::V4(address) => IpAddr::V4(address),
            IpAddr::V6(address) => {
                IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & (u128::MAX << 64)))
            }
        })
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            IpAddr::V4(address) => write!(f, "{address}"),
            IpAddr::V6(address) => write!(f, "{address}/64"),
        }
    }
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

    fn peer(address: &str) -> Peer {
        let traffic = Traffic::new(1, &ReplyMemory::default(), &CoarseClock::default());
        Peer::new(format!("{address}:4711").parse().unwrap(), traffic)
    }

    fn client<T: AsRef<[u8]>>(address: &str, trusted: &[&str], forwarded_for: &[T]) -> String {
        let trusted: Vec<IpNet> = trusted.iter().map(|text| text.parse().unwrap()).collect();
        peer(address)
            .of_request(&trusted, forwarded_for.iter().map(AsRef::as_ref))
            .client(None)
            .ip()
            .to_string()
    }

    #[test]
    fn a_user_agent_need_not_be_text() {
        let peer = peer("192.0.2.1");
        for (sent, kept) in [
            (None, ""),
            (Some(&b""[..]), ""),
            (Some(b"Firefox/1"), "Firefox/1"),
            (
                Some("T\u{E9}l\u{E9}phone".as_bytes()),
                "T\u{E9}l\u{E9}phone",
            ),
            (Some(b"T\xE9l\xE9phone\x7F"), "T\u{FFFD}l\u{FFFD}phone"),
        ] {
            assert_eq!(&**peer.client(sent).user_agent(), kept);
        }
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

    #[test]
    fn networks() {
        for (address, network) in [
            ("192.0.2.1", "192.0.2.1"),
            ("::ffff:192.0.2.1", "192.0.2.1"),
            ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ] {
            let network_of = Network::of(address.parse().unwrap());
            assert_eq!(network_of.to_string(), network);
        }
    }
}
