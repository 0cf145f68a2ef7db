//! Accepting connections.

use std::{
    io::{self, ErrorKind},
    net::SocketAddr,
    sync::Arc,
    time::Duration,
};

use tokio::{
    net::{TcpListener, TcpSocket, TcpStream},
    sync::oneshot,
    time::{self, Instant},
};

use super::{
    connection::{Connection, Timeouts},
    connection_limits::{Admitted, ConnectionLimits},
    known_callers::KnownCallers,
    refusal_log::RefusalLog,
};
use crate::{
    config::LimitSettings,
    domain::Network,
    peer::{CoarseClock, Peer, ReplyMemory, Traffic},
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
pub(crate) fn bind(address: SocketAddr) -> io::Result<TcpListener> {
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
pub(crate) struct Listener {
    socket: TcpListener,
    connection_limits: Arc<ConnectionLimits>,
    requests_per_connection: usize,
    reply_memory: ReplyMemory,
    timeouts: Timeouts,
    warned: Option<Instant>,
    refusal_log: Arc<RefusalLog>,
}

/// A connection that has a place.
pub(crate) struct Accepted {
    pub(crate) connection: Connection<TcpStream>,
    /// Whether its network is known.
    pub(crate) known_callers: KnownCallers,
    /// Resolves when another connection needs its place.
    pub(crate) evicted: oneshot::Receiver<()>,
}

impl Listener {
    pub(crate) fn new(
        socket: TcpListener,
        connection_limits: ConnectionLimits,
        limits: &LimitSettings,
    ) -> Self {
        Self {
            socket,
            connection_limits: Arc::new(connection_limits),
            requests_per_connection: limits.max_requests_per_connection(),
            reply_memory: ReplyMemory::new(limits.max_unsent, limits.max_unsent_per_connection),
            timeouts: Timeouts::new(limits),
            warned: None,
            refusal_log: Arc::default(),
        }
    }

    /// What idle times are measured by; to be set several times a second.
    pub(crate) fn clock(&self) -> &CoarseClock {
        self.connection_limits.clock()
    }

    /// Where callers that meet a limit are counted.
    pub(crate) fn refusal_log(&self) -> &Arc<RefusalLog> {
        &self.refusal_log
    }

    /// The next connection that has a place. Nothing is lost when this is
    /// dropped before it is ready.
    pub(crate) async fn next(&mut self) -> Accepted {
        loop {
            // A flood of connections waits in the backlog until those that it displaces
            // have closed their files.
            self.connection_limits.settle().await;
            match self.socket.accept().await {
                Ok((socket, address)) => {
                    if let Some(accepted) = self.admit(socket, address) {
                        return accepted;
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

impl Listener {
    /// Gives a connection its place; without one it is disconnected at once.
    fn admit(&mut self, socket: TcpStream, address: SocketAddr) -> Option<Accepted> {
        let network = Network::of(address.ip());
        let traffic = Traffic::new(
            self.requests_per_connection,
            &self.reply_memory,
            self.connection_limits.clock(),
        );
        let Admitted {
            place,
            evicted,
            has_evicted,
        } = match self.connection_limits.take(address.ip(), &traffic) {
            Ok(admitted) => admitted,
            Err(why) => {
                self.refusal_log.refused(why, network);
                return None;
            }
        };
        if has_evicted {
            self.refusal_log.ended_idle(network);
        }
        let known_callers = KnownCallers::new(&self.connection_limits, place.id());
        let peer = Peer::new(address, traffic);
        Some(Accepted {
            connection: Connection::new(socket, peer, self.timeouts, &self.refusal_log, place),
            known_callers,
            evicted,
        })
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
