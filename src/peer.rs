//! Who is at the other end of a connection.

mod reply_room;
mod traffic;

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use thiserror::Error;

pub use self::{
    reply_room::{ReplyMemory, ReplyRoom},
    traffic::{CoarseClock, RequestPermit, Traffic, WaitingReply},
};
use crate::error_code::ErrorCode;

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

    /// The same peer, for a request whose client has this address.
    pub fn with_client_ip(&self, client_ip: IpAddr) -> Self {
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
    /// The case, which decides the status in each protocol.
    pub fn code(self) -> ErrorCode {
        match self {
            Self::ConnectionFull | Self::RepliesUnread => ErrorCode::Overloaded,
            Self::TooSlow => ErrorCode::DeadlineExceeded,
        }
    }

    /// When to try again, where that helps.
    pub fn retry_after(self) -> Option<Duration> {
        (self != Self::TooSlow).then_some(RETRY_CONNECTION)
    }
}
