//! The peer of a connection, and the limits on its requests.

mod reply_memory;
mod traffic;

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use thiserror::Error;

pub use self::{
    reply_memory::{ReplyMemory, ReplyReservation},
    traffic::{CoarseClock, RequestPermit, Traffic, UnsentReply},
};
use crate::domain::Client;

/// The delay before a retry on a connection with too many requests in progress.
const RETRY_CONNECTION: Duration = Duration::from_secs(1);

/// The peer of a connection and the client of a request; an extension of each request.
#[derive(Clone, Debug)]
pub struct Peer {
    address: SocketAddr,
    client_ip: IpAddr,
    traffic: Arc<Traffic>,
    is_over_limit: bool,
}

impl Peer {
    /// Creates the peer of a connection.
    pub fn new(address: SocketAddr, traffic: Arc<Traffic>) -> Self {
        Self {
            address,
            client_ip: address.ip().to_canonical(),
            traffic,
            is_over_limit: false,
        }
    }

    /// The remote address of the connection.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// A number unique among open connections.
    pub fn connection(&self) -> usize {
        Arc::as_ptr(&self.traffic).addr()
    }

    /// The address of the client: the peer's own, or the one that a trusted proxy
    /// forwarded.
    pub fn client_ip(&self) -> IpAddr {
        self.client_ip
    }

    /// The requests and unsent replies of the connection.
    pub fn traffic(&self) -> &Arc<Traffic> {
        &self.traffic
    }

    /// Marks a request that exceeds the connection's limit on requests in progress.
    pub fn over_limit(self) -> Self {
        let is_over_limit = true;
        Self {
            is_over_limit,
            ..self
        }
    }

    /// Whether the request exceeds the connection's limit on requests in progress.
    pub fn is_over_limit(&self) -> bool {
        self.is_over_limit
    }

    /// The client of a login with this `User-Agent` header, which may hold any bytes
    /// (RFC 9110, 5.5): invalid UTF-8 is replaced.
    pub fn client(&self, user_agent: Option<&[u8]>) -> Client {
        let user_agent = String::from_utf8_lossy(user_agent.unwrap_or_default());
        Client::new(&user_agent, self.client_ip)
    }

    /// The same peer with another client address.
    pub fn with_client_ip(&self, client_ip: IpAddr) -> Self {
        Self {
            client_ip,
            ..self.clone()
        }
    }
}

/// A limit on the requests of every protocol, with the message for callers that exceed it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum OverLimit {
    /// The connection has too many requests in progress.
    #[error("too many requests at once on this connection; wait for some, or open another")]
    ConnectionFull,
    /// Unsent replies use all the memory reserved for them.
    #[error("too many unread replies; read those of this connection and try again")]
    RepliesUnread,
    /// The request took longer than its deadline.
    #[error("the request took longer than the server allows")]
    TooSlow,
}

impl OverLimit {
    /// A stable identifier for programs and the log.
    pub fn reason(self) -> &'static str {
        match self {
            Self::ConnectionFull | Self::RepliesUnread => "OVERLOADED",
            Self::TooSlow => "DEADLINE_EXCEEDED",
        }
    }

    /// The delay before a retry; `None` where a retry does not help.
    pub fn retry_after(self) -> Option<Duration> {
        (self != Self::TooSlow).then_some(RETRY_CONNECTION)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(address: &str) -> Peer {
        let traffic = Traffic::new(1, &ReplyMemory::default(), &CoarseClock::default());
        Peer::new(format!("{address}:4711").parse().unwrap(), traffic)
    }

    #[test]
    fn invalid_utf8_in_a_user_agent_is_replaced() {
        let peer = peer("192.0.2.1");
        for (sent, expected) in [
            (None, ""),
            (Some(&b""[..]), ""),
            (Some(b"Firefox/1"), "Firefox/1"),
            (
                Some("T\u{E9}l\u{E9}phone".as_bytes()),
                "T\u{E9}l\u{E9}phone",
            ),
            (Some(b"T\xE9l\xE9phone\x7F"), "T\u{FFFD}l\u{FFFD}phone"),
        ] {
            assert_eq!(&**peer.client(sent).user_agent(), expected);
        }
    }
}
