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
use crate::error_code::ErrorCode;

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
    /// The case, which decides the status in each protocol.
    pub fn code(self) -> ErrorCode {
        match self {
            Self::ConnectionFull | Self::RepliesUnread => ErrorCode::Overloaded,
            Self::TooSlow => ErrorCode::DeadlineExceeded,
        }
    }

    /// The delay before a retry; `None` where a retry does not help.
    pub fn retry_after(self) -> Option<Duration> {
        (self != Self::TooSlow).then_some(RETRY_CONNECTION)
    }
}
