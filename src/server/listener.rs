//! Accepting connections: who may have one, and what when there are too many.

use std::{
    collections::HashMap,
    convert::Infallible,
    io::{self, ErrorKind},
    net::{IpAddr, Ipv6Addr, SocketAddr},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use futures_util::{Stream, stream};
use tokio::{
    net::{TcpListener, TcpSocket},
    time::{self, Instant},
};

use super::connection::{Connection, Timeouts};
use crate::config::LimitSettings;

/// How long to wait before accepting again when the operating system has no
/// more file descriptors, so that the wait does not eat a core.
const BACK_OFF: Duration = Duration::from_millis(100);

/// How often to say so in the log.
const WARN_EVERY: Duration = Duration::from_secs(10);

/// How many connections may wait to be accepted; the rest of a burst would
/// have to wait for TCP's retransmission.
const BACKLOG: u32 = 1_024;

/// A listening socket that keeps count of who is connected.
pub(super) struct Listener {
    socket: TcpListener,
    open: Arc<OpenConnections>,
    requests: usize,
    timeouts: Timeouts,
    warned: Option<Instant>,
}

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

impl Listener {
    pub(super) fn new(socket: TcpListener, limits: &LimitSettings) -> Self {
        Self {
            socket,
            open: Arc::new(OpenConnections {
                by_peer: Mutex::default(),
                most: limits.max_connections,
                most_per_peer: limits.max_connections_per_peer,
            }),
            requests: limits.max_requests_per_connection,
            timeouts: Timeouts::new(limits),
            warned: None,
        }
    }

    /// The connections, as they come.
    pub(super) fn connections(self) -> impl Stream<Item = Result<Connection, Infallible>> {
        stream::unfold(self, async |mut listener| {
            Some((Ok(listener.next().await), listener))
        })
    }

    async fn next(&mut self) -> Connection {
        loop {
            match self.socket.accept().await {
                Ok((socket, address)) => {
                    // Whoever has enough of them is hung up on at once.
                    if let Some(place) = OpenConnections::admit(&self.open, address.ip()) {
                        return Connection::new(
                            socket,
                            address,
                            self.requests,
                            self.timeouts,
                            place,
                        );
                    }
                }
                Err(error) if is_the_peers(&error) => {}
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

/// Whether a connection failed before it was accepted; the next one may be fine.
fn is_the_peers(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::ConnectionRefused
            | ErrorKind::ConnectionAborted
            | ErrorKind::ConnectionReset
            | ErrorKind::Interrupted
    )
}

/// How many connections each peer has open.
struct OpenConnections {
    by_peer: Mutex<HashMap<IpAddr, usize>>,
    most: usize,
    most_per_peer: usize,
}

/// An admitted connection's place in the count, given back when dropped.
pub(super) struct Place {
    open: Arc<OpenConnections>,
    peer: IpAddr,
}

impl OpenConnections {
    fn admit(this: &Arc<Self>, address: IpAddr) -> Option<Place> {
        let peer = network(address);
        let mut by_peer = this.by_peer.lock().unwrap_or_else(PoisonError::into_inner);
        let all: usize = by_peer.values().sum();
        let own = by_peer.get(&peer).copied().unwrap_or_default();
        if all >= this.most || own >= this.most_per_peer {
            return None;
        }
        by_peer.insert(peer, own + 1);
        Some(Place {
            open: Arc::clone(this),
            peer,
        })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut by_peer = self
            .open
            .by_peer
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        match by_peer.get_mut(&self.peer) {
            Some(own) if *own > 1 => *own -= 1,
            _ => {
                by_peer.remove(&self.peer);
            }
        }
    }
}

/// What one party is given to connect from: an IPv4 address, or the /64 that
/// an IPv6 address lies in.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => IpAddr::V4(address),
        IpAddr::V6(address) => {
            IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & (u128::MAX << 64)))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_counted_by_network_and_given_back() {
        let open = Arc::new(OpenConnections {
            by_peer: Mutex::default(),
            most: 3,
            most_per_peer: 2,
        });
        let admit = |address: &str| OpenConnections::admit(&open, address.parse().unwrap());
        let first = admit("2001:db8::1").unwrap();
        let _second = admit("2001:db8::2").unwrap();
        assert!(admit("2001:db8::3").is_none(), "one /64 has two");
        let _other = admit("192.0.2.1").unwrap();
        assert!(admit("192.0.2.2").is_none(), "three in all");
        drop(first);
        assert!(admit("::ffff:192.0.2.1").is_some());
        assert!(admit("2001:db8::3").is_some());
    }
}
