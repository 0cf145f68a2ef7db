//! Who is at the other end of a connection.

use std::{net::SocketAddr, sync::Arc};

use tokio::sync::Semaphore;

/// What is known of a connection; every request that comes over it carries
/// this.
#[derive(Clone, Debug)]
pub struct Peer {
    /// The address that connected.
    pub address: SocketAddr,
    /// A permit for each request that the connection may have in work.
    pub permits: Arc<Semaphore>,
}
