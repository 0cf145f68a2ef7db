//! Memory for replies that are larger than a few hundred bytes. It is reserved before a
//! reply is built and released when the last byte has been handed to the socket, so a caller
//! that does not read its replies uses no more than its connection's share.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use tokio::{sync::TryAcquireError, time};

use super::{OverLimit, traffic::Traffic};

/// The longest wait for earlier replies of the same connection to be sent.
const MAX_WAIT: Duration = Duration::from_secs(2);

/// A limit on the bytes of large unsent replies. Clones share the count.
#[derive(Clone, Debug)]
pub struct ReplyMemory {
    used: Arc<AtomicUsize>,
    max: usize,
    max_per_connection: usize,
}

impl ReplyMemory {
    /// Creates a limit, in bytes: in total, and per connection.
    pub fn new(max: usize, max_per_connection: usize) -> Self {
        Self {
            used: Arc::default(),
            max,
            max_per_connection,
        }
    }

    pub(super) fn max_per_connection(&self) -> usize {
        self.max_per_connection
    }

    /// Whether less than a quarter is free.
    pub(super) fn is_scarce(&self) -> bool {
        self.used.load(Relaxed) > self.max - self.max / 4
    }

    fn try_reserve(&self, bytes: usize) -> bool {
        if self.used.fetch_add(bytes, Relaxed) + bytes <= self.max {
            return true;
        }
        self.release(bytes);
        false
    }

    fn release(&self, bytes: usize) {
        self.used.fetch_sub(bytes, Relaxed);
    }
}

/// 64 MiB in total, and 1 MiB per connection.
impl Default for ReplyMemory {
    fn default() -> Self {
        Self::new(64 * 1024 * 1024, 1024 * 1024)
    }
}

/// Memory reserved for one reply, released when the last clone is dropped. It is passed to
/// the transport in the response's extensions.
#[derive(Clone, Debug)]
pub struct ReplyReservation(Arc<ReservedBytes>);

#[derive(Debug)]
struct ReservedBytes {
    traffic: Arc<Traffic>,
    bytes: AtomicUsize,
}

impl ReplyReservation {
    /// Releases the bytes beyond the actual size of the reply.
    pub fn shrink_to(&self, bytes: usize) {
        let before = self.0.bytes.fetch_min(bytes, Relaxed);
        self.0
            .traffic
            .release_reply_memory(before.saturating_sub(bytes));
    }
}

impl Drop for ReservedBytes {
    fn drop(&mut self) {
        self.traffic.release_reply_memory(self.bytes.load(Relaxed));
    }
}

impl Traffic {
    /// Reserves memory for a reply of at most `bytes` bytes. Waits up to 2 s for earlier
    /// replies of this connection to be sent.
    ///
    /// # Errors
    ///
    /// `RepliesUnread`.
    pub async fn reserve_reply(
        self: &Arc<Self>,
        bytes: usize,
    ) -> Result<ReplyReservation, OverLimit> {
        if let Some(reservation) = self.try_reserve_reply(bytes)? {
            return Ok(reservation);
        }
        let permits = self.available_bytes.acquire_many(self.permits(bytes));
        match time::timeout(MAX_WAIT, permits).await {
            Ok(Ok(permits)) => permits.forget(),
            Ok(Err(_)) | Err(_) => return Err(OverLimit::RepliesUnread),
        }
        self.with_permits(bytes)
    }

    /// Reserves memory without waiting; `None` when the connection's share is in use.
    pub(super) fn try_reserve_reply(
        self: &Arc<Self>,
        bytes: usize,
    ) -> Result<Option<ReplyReservation>, OverLimit> {
        match self.available_bytes.try_acquire_many(self.permits(bytes)) {
            Ok(permits) => permits.forget(),
            Err(TryAcquireError::NoPermits) => return Ok(None),
            Err(TryAcquireError::Closed) => return Err(OverLimit::RepliesUnread),
        }
        self.with_permits(bytes).map(Some)
    }

    fn with_permits(self: &Arc<Self>, bytes: usize) -> Result<ReplyReservation, OverLimit> {
        let bytes = bytes.min(self.reply_memory.max_per_connection());
        if !self.reply_memory.try_reserve(bytes) {
            self.available_bytes.add_permits(bytes);
            return Err(OverLimit::RepliesUnread);
        }
        Ok(ReplyReservation(Arc::new(ReservedBytes {
            traffic: Arc::clone(self),
            bytes: AtomicUsize::new(bytes),
        })))
    }

    /// A reply larger than the connection's share takes the whole share.
    fn permits(&self, bytes: usize) -> u32 {
        let bytes = bytes.min(self.reply_memory.max_per_connection());
        u32::try_from(bytes).unwrap_or(u32::MAX)
    }

    fn release_reply_memory(&self, bytes: usize) {
        self.reply_memory.release(bytes);
        self.available_bytes.add_permits(bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::peer::CoarseClock;

    fn traffic(memory: &ReplyMemory) -> Arc<Traffic> {
        Traffic::new(1, memory, &CoarseClock::default())
    }

    #[tokio::test]
    async fn a_connection_waits_once_its_share_is_reserved() {
        let memory = ReplyMemory::new(10_000, 1_000);
        let connection = traffic(&memory);
        let first = connection.reserve_reply(800).await.unwrap();
        assert!(connection.try_reserve_reply(300).unwrap().is_none());
        first.shrink_to(700);
        first.shrink_to(900);
        let second = connection.reserve_reply(300).await.unwrap();
        let (third, ()) = tokio::join!(connection.reserve_reply(5_000), async {
            drop((first, second));
        });
        assert_eq!(memory.used.load(Relaxed), 1_000);
        drop(third);
        assert_eq!(memory.used.load(Relaxed), 0);
        assert_eq!(connection.available_bytes.available_permits(), 1_000);
    }

    #[tokio::test]
    async fn all_connections_share_the_total() {
        let memory = ReplyMemory::new(1_500, 1_000);
        let (one, other) = (traffic(&memory), traffic(&memory));
        let held = one.reserve_reply(1_000).await.unwrap();
        let refused = other.reserve_reply(600).await.unwrap_err();
        assert_eq!(refused, OverLimit::RepliesUnread);
        assert!(!memory.is_scarce());
        let _small = other.reserve_reply(500).await.unwrap();
        assert!(memory.is_scarce());
        drop(held);
        assert!(other.reserve_reply(500).await.is_ok());
    }
}
