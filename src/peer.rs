//! Who is at the other end of a connection.

use std::{net::SocketAddr, sync::Arc};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::domain::Client;

/// What is known of a connection; every request that comes over it carries
/// this.
#[derive(Clone, Debug)]
pub struct Peer {
    address: SocketAddr,
    requests: Arc<Semaphore>,
}

impl Peer {
    /// A peer whose connection may have some requests in progress at once.
    pub fn new(address: SocketAddr, requests: usize) -> Self {
        Self {
            address,
            requests: Arc::new(Semaphore::new(requests)),
        }
    }

    /// The address that connected.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Counts a request in, until what is returned is dropped; `None` when the
    /// connection has its share in progress.
    pub fn begin_request(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.requests).try_acquire_owned().ok()
    }

    /// Who logs in over this connection.
    pub fn client(&self, user_agent: Option<&str>) -> Client {
        Client::new(user_agent.unwrap_or_default(), self.address.ip())
    }
}
