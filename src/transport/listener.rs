//! Accepts connections.

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
    connection_limits::{AdmittedConnection, ConnectionLimits},
    known_callers::KnownCallers,
    refusal_log::RefusalLog,
};
use crate::{
    config::LimitSettings,
    domain::Network,
    peer::{CoarseClock, Peer, ReplyMemory, Traffic},
};

/// The delay after a failed accept, such as for lack of file descriptors: retrying at once
/// would keep a core busy.
const BACK_OFF: Duration = Duration::from_millis(100);

/// The least interval between warnings of failed accepts.
const WARNING_INTERVAL: Duration = Duration::from_secs(10);

/// The number of connections that may wait to be accepted. Those beyond it wait for TCP's
/// retransmission.
const BACKLOG: u32 = 1_024;

/// Binds a listening socket.
pub(crate) fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = match address {
        SocketAddr::V4(_) => TcpSocket::new_v4()?,
        SocketAddr::V6(_) => TcpSocket::new_v6()?,
    };
    // Allows a restart while connections of the previous process are in TIME_WAIT.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// A listening socket whose connections are limited.
pub(crate) struct Listener {
    socket: TcpListener,
    connection_limits: Arc<ConnectionLimits>,
    requests_per_connection: usize,
    reply_memory: ReplyMemory,
    timeouts: Timeouts,
    last_warning: Option<Instant>,
    refusal_log: Arc<RefusalLog>,
}

/// A connection within the limits.
pub(crate) struct Accepted {
    pub(crate) connection: Connection<TcpStream>,
    /// Whether the connection's network is known.
    pub(crate) known_callers: KnownCallers,
    /// Resolves when the connection must close for a new one.
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
            last_warning: None,
            refusal_log: Arc::default(),
        }
    }

    /// The clock of idle times, to be advanced every [`CoarseClock::TICK`].
    pub(crate) fn clock(&self) -> &CoarseClock {
        self.connection_limits.clock()
    }

    /// The log of refused connections and requests.
    pub(crate) fn refusal_log(&self) -> &Arc<RefusalLog> {
        &self.refusal_log
    }

    /// Accepts the next connection within the limits. Cancel safe: no connection is lost when
    /// the future is dropped.
    pub(crate) async fn next(&mut self) -> Accepted {
        loop {
            // A flood of connections waits in the backlog until the connections evicted for
            // it have closed their file descriptors.
            self.connection_limits.wait_for_evicted().await;
            match self.socket.accept().await {
                Ok((socket, address)) => {
                    if let Some(accepted) = self.admit(socket, address) {
                        return accepted;
                    }
                }
                Err(error) if failed_before_accept(&error) => {}
                Err(error) => {
                    if self
                        .last_warning
                        .is_none_or(|at| at.elapsed() > WARNING_INTERVAL)
                    {
                        tracing::warn!(%error, "cannot accept connections for now");
                        self.last_warning = Some(Instant::now());
                    }
                    time::sleep(BACK_OFF).await;
                }
            }
        }
    }

    /// Acquires a permit for the connection, or closes it.
    fn admit(&mut self, socket: TcpStream, address: SocketAddr) -> Option<Accepted> {
        let network = Network::of(address.ip());
        let traffic = Traffic::new(
            self.requests_per_connection,
            &self.reply_memory,
            self.connection_limits.clock(),
        );
        let AdmittedConnection {
            permit,
            evicted,
            has_evicted,
        } = match self.connection_limits.acquire(address.ip(), &traffic) {
            Ok(admitted) => admitted,
            Err(refusal) => {
                self.refusal_log.record_connection(refusal, network);
                return None;
            }
        };
        if has_evicted {
            self.refusal_log.record_eviction(network);
        }
        let known_callers = KnownCallers::new(&self.connection_limits, permit.id());
        let peer = Peer::new(address, traffic);
        Some(Accepted {
            connection: Connection::new(socket, peer, self.timeouts, &self.refusal_log, permit),
            known_callers,
            evicted,
        })
    }
}

/// Whether only the accepted connection failed, so that the next can be accepted at once.
fn failed_before_accept(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::ConnectionRefused
            | ErrorKind::ConnectionAborted
            | ErrorKind::ConnectionReset
            | ErrorKind::Interrupted
    )
}
