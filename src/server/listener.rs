//! Accepting connections.

use std::{
    io::{self, ErrorKind},
    net::SocketAddr,
    sync::Arc,
    time::Duration,
};

use tokio::{
    net::{TcpListener, TcpSocket},
    time::{self, Instant},
};

use super::{
    connection::{Connection, Timeouts},
    places::Places,
};
use crate::{
    config::LimitSettings,
    peer::{Peer, ReplyMemory, Traffic},
};

/// How long to wait before accepting again when the operating system has no
/// more file descriptors, so that the wait does not eat a core.
const BACK_OFF: Duration = Duration::from_millis(100);

/// How often to say so in the log.
const WARN_EVERY: Duration = Duration::from_secs(10);

/// How many connections may wait to be accepted; the rest of a burst would
/// have to wait for TCP's retransmission.
const BACKLOG: u32 = 1_024;

/// Binds a listening socket.
pub(super) fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = match address {
        SocketAddr::V4(_) => TcpSocket::new_v4()?,
        SocketAddr::V6(_) => TcpSocket::new_v6()?,
    };
    // A restart need not wait for the last connections of the run before.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// A listening socket that keeps count of who is connected.
pub(super) struct Listener {
    socket: TcpListener,
    places: Arc<Places>,
    requests_per_connection: usize,
    reply_memory: ReplyMemory,
    timeouts: Timeouts,
    warned: Option<Instant>,
}

impl Listener {
    pub(super) fn new(socket: TcpListener, places: Places, limits: &LimitSettings) -> Self {
        Self {
            socket,
            places: Arc::new(places),
            requests_per_connection: limits.max_requests_per_connection,
            reply_memory: ReplyMemory::new(limits.max_unsent, limits.max_unsent_per_connection),
            timeouts: Timeouts::new(limits),
            warned: None,
        }
    }

    /// The next connection that has a place. Nothing is lost when this is
    /// dropped before it is ready.
    pub(super) async fn next(&mut self) -> Connection {
        loop {
            match self.socket.accept().await {
                Ok((socket, address)) => {
                    // A peer over its limit is disconnected at once.
                    if let Some(place) = self.places.take(address.ip()) {
                        let traffic =
                            Traffic::new(self.requests_per_connection, &self.reply_memory);
                        let peer = Peer::new(address, traffic);
                        return Connection::new(socket, peer, self.timeouts, place);
                    }
                }
                Err(error) if failed_before_accept(&error) => {}
                Err(error) => {
                    if self.warned.is_none_or(|at| at.elapsed() > WARN_EVERY) {
                        tracing::warn!(%error, "cannot accept connections for now");
                        self.warned = Some(Instant::now());
                    }
                    time::sleep(BACK_OFF).await;
                }
            }
        }
    }
}

/// Whether it was that one connection which failed; the next may be fine.
fn failed_before_accept(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::ConnectionRefused
            | ErrorKind::ConnectionAborted
            | ErrorKind::ConnectionReset
            | ErrorKind::Interrupted
    )
}
