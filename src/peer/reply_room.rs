//! Memory for replies that are larger than a few hundred bytes. Whoever is about to
//! make one takes room for it first, and it is given back when the last byte has been
//! handed to the socket: a caller that does not read costs no more than its share.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use tokio::{sync::TryAcquireError, time};

use super::{OverLimit, traffic::Traffic};

/// The longest wait for earlier replies of the same connection to be read.
const PATIENCE: Duration = Duration::from_secs(2);

/// How many bytes of large replies may wait to be sent. Clones share the count.
#[derive(Clone, Debug)]
pub struct ReplyMemory {
    used: Arc<AtomicUsize>,
    most: usize,
    per_connection: usize,
}

impl ReplyMemory {
    /// So many bytes in all, and of one connection.
    pub fn new(most: usize, per_connection: usize) -> Self {
        Self {
            used: Arc::default(),
            most,
            per_connection,
        }
    }

    pub(super) fn per_connection(&self) -> usize {
        self.per_connection
    }

    /// Whether less than a quarter is left.
    pub(super) fn is_scarce(&self) -> bool {
        self.used.load(Relaxed) > self.most - self.most / 4
    }

    fn take(&self, bytes: usize) -> bool {
        if self.used.fetch_add(bytes, Relaxed) + bytes <= self.most {
            return true;
        }
        self.give_back(bytes);
        false
    }

    fn give_back(&self, bytes: usize) {
        self.used.fetch_sub(bytes, Relaxed);
    }
}

/// 64 MiB in all, and 1 MiB of one connection.
impl Default for ReplyMemory {
    fn default() -> Self {
        Self::new(64 * 1024 * 1024, 1024 * 1024)
    }
}

/// Room for one reply, given back when the last clone is dropped. It travels in the
/// extensions of the response to where that is sent.
#[derive(Clone, Debug)]
pub struct ReplyRoom(Arc<Taken>);

#[derive(Debug)]
struct Taken {
    traffic: Arc<Traffic>,
    bytes: AtomicUsize,
}

impl ReplyRoom {
    /// Gives back what the reply did not need, now that its size is known.
    pub fn shrink_to(&self, bytes: usize) {
        let before = self.0.bytes.fetch_min(bytes, Relaxed);
        self.0.traffic.give_room_back(before.saturating_sub(bytes));
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        self.traffic.give_room_back(self.bytes.load(Relaxed));
    }
}

impl Traffic {
    /// Takes room for a reply of at most so many bytes, and waits a moment until
    /// earlier ones of this connection have been read.
    ///
    /// # Errors
    ///
    /// `RepliesUnread`.
    pub async fn reply_room(self: &Arc<Self>, bytes: usize) -> Result<ReplyRoom, OverLimit> {
        if let Some(room) = self.room_at_once(bytes)? {
            return Ok(room);
        }
        let permits = self.room.acquire_many(self.permits(bytes));
        match time::timeout(PATIENCE, permits).await {
            Ok(Ok(permits)) => permits.forget(),
            Ok(Err(_)) | Err(_) => return Err(OverLimit::RepliesUnread),
        }
        self.with_permits(bytes)
    }

    #[cfg(test)]
    pub(super) fn try_reply_room(self: &Arc<Self>, bytes: usize) -> Option<ReplyRoom> {
        self.room_at_once(bytes).ok().flatten()
    }

    /// Room, if nobody has to be waited for.
    fn room_at_once(self: &Arc<Self>, bytes: usize) -> Result<Option<ReplyRoom>, OverLimit> {
        match self.room.try_acquire_many(self.permits(bytes)) {
            Ok(permits) => permits.forget(),
            Err(TryAcquireError::NoPermits) => return Ok(None),
            Err(TryAcquireError::Closed) => return Err(OverLimit::RepliesUnread),
        }
        self.with_permits(bytes).map(Some)
    }

    fn with_permits(self: &Arc<Self>, bytes: usize) -> Result<ReplyRoom, OverLimit> {
        let bytes = bytes.min(self.memory.per_connection());
        if !self.memory.take(bytes) {
            self.room.add_permits(bytes);
            return Err(OverLimit::RepliesUnread);
        }
        Ok(ReplyRoom(Arc::new(Taken {
            traffic: Arc::clone(self),
            bytes: AtomicUsize::new(bytes),
        })))
    }

    /// No reply needs more than all there is.
    fn permits(&self, bytes: usize) -> u32 {
        let bytes = bytes.min(self.memory.per_connection());
        u32::try_from(bytes).unwrap_or(u32::MAX)
    }

    fn give_room_back(&self, bytes: usize) {
        self.memory.give_back(bytes);
        self.room.add_permits(bytes);
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
    async fn a_connection_has_its_share_and_waits_for_more() {
        let memory = ReplyMemory::new(10_000, 1_000);
        let own = traffic(&memory);
        let first = own.reply_room(800).await.unwrap();
        assert!(own.try_reply_room(300).is_none());
        first.shrink_to(700);
        first.shrink_to(900);
        let second = own.reply_room(300).await.unwrap();
        let (third, ()) = tokio::join!(own.reply_room(5_000), async {
            drop((first, second));
        });
        assert_eq!(memory.used.load(Relaxed), 1_000);
        drop(third);
        assert_eq!(memory.used.load(Relaxed), 0);
        assert_eq!(own.room.available_permits(), 1_000);
    }

    #[tokio::test]
    async fn all_connections_share_what_there_is() {
        let memory = ReplyMemory::new(1_500, 1_000);
        let (one, other) = (traffic(&memory), traffic(&memory));
        let held = one.reply_room(1_000).await.unwrap();
        let refused = other.reply_room(600).await.unwrap_err();
        assert_eq!(refused, OverLimit::RepliesUnread);
        assert!(!memory.is_scarce());
        let _small = other.reply_room(500).await.unwrap();
        assert!(memory.is_scarce());
        drop(held);
        assert!(other.reply_room(500).await.is_ok());
    }
}
