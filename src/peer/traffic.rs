//! The requests that one connection has in progress, and its unsent replies.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicUsize, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use tokio::sync::Semaphore;

use super::reply_memory::ReplyMemory;

/// Unsent replies are counted by the period in which they were created. A reply is overdue
/// if it is still unsent when its period comes round again.
const PERIODS: usize = 8;

/// A coarse clock with cheap reads. Its owner advances it several times a second.
#[derive(Clone, Debug)]
pub struct CoarseClock {
    start: Instant,
    now: Arc<AtomicU32>,
}

impl CoarseClock {
    /// The interval between calls of [`advance`](Self::advance).
    pub const TICK: Duration = Duration::from_millis(100);

    /// Sets the clock to the present time.
    pub fn advance(&self) {
        let ticks = self.start.elapsed().as_millis() / Self::TICK.as_millis();
        self.now
            .store(u32::try_from(ticks).unwrap_or(u32::MAX), Relaxed);
    }

    /// The ticks from the clock's creation to its last advance.
    pub fn now(&self) -> u32 {
        self.now.load(Relaxed)
    }
}

impl Default for CoarseClock {
    fn default() -> Self {
        Self {
            start: Instant::now(),
            now: Arc::default(),
        }
    }
}

/// The state that the requests of one connection share. It is written on the connection's
/// task and read on any.
#[derive(Debug)]
pub struct Traffic {
    max_requests: usize,
    /// Requests in progress: their replies have not been sent in full.
    requests: AtomicUsize,
    clock: CoarseClock,
    last_request: AtomicU32,
    /// Unsent chunks of replies, by period.
    unsent: [AtomicU32; PERIODS],
    period: AtomicU8,
    /// Bytes of this connection's share of the reply memory that are not reserved.
    pub(super) available_bytes: Semaphore,
    pub(super) reply_memory: ReplyMemory,
    is_aborted: AtomicBool,
    has_recognised: AtomicBool,
}

/// Counts a request as in progress until it is dropped.
#[derive(Debug)]
pub struct RequestPermit(Arc<Traffic>);

impl Drop for RequestPermit {
    fn drop(&mut self) {
        self.0.requests.fetch_sub(1, Relaxed);
    }
}

/// Counts a chunk of a reply as unsent until it is dropped.
#[derive(Debug)]
pub struct UnsentReply {
    traffic: Arc<Traffic>,
    period: u8,
}

impl Drop for UnsentReply {
    fn drop(&mut self) {
        let period = usize::from(self.period);
        self.traffic.unsent[period].fetch_sub(1, Relaxed);
    }
}

impl Traffic {
    /// The state of a new connection, which may have `max_requests` in progress.
    pub fn new(max_requests: usize, reply_memory: &ReplyMemory, clock: &CoarseClock) -> Arc<Self> {
        Arc::new(Self {
            max_requests,
            requests: AtomicUsize::new(0),
            clock: clock.clone(),
            last_request: AtomicU32::new(clock.now()),
            unsent: Default::default(),
            period: AtomicU8::new(0),
            available_bytes: Semaphore::new(reply_memory.max_per_connection()),
            reply_memory: reply_memory.clone(),
            is_aborted: AtomicBool::new(false),
            has_recognised: AtomicBool::new(false),
        })
    }

    /// Counts a request as in progress; `None` when the connection is at its limit.
    pub fn begin_request(self: &Arc<Self>) -> Option<RequestPermit> {
        self.last_request.store(self.clock.now(), Relaxed);
        if self.requests.fetch_add(1, Relaxed) >= self.max_requests {
            self.requests.fetch_sub(1, Relaxed);
            return None;
        }
        Some(RequestPermit(Arc::clone(self)))
    }

    /// Counts a chunk of a reply as unsent.
    pub fn unsent_reply(self: &Arc<Self>) -> UnsentReply {
        let period = self.period.load(Relaxed);
        self.unsent[usize::from(period)].fetch_add(1, Relaxed);
        UnsentReply {
            traffic: Arc::clone(self),
            period,
        }
    }

    /// Whether a request is in progress.
    pub fn is_busy(&self) -> bool {
        self.requests.load(Relaxed) > 0
    }

    /// The time of the last request, else of the connection, by the [`CoarseClock`].
    pub fn last_request(&self) -> u32 {
        self.last_request.load(Relaxed)
    }

    /// Whether a reply is unsent.
    pub fn has_unsent(&self) -> bool {
        self.unsent.iter().any(|count| count.load(Relaxed) > 0)
    }

    /// The length of a period that detects overdue replies after `timeout` to 8/7 of it.
    pub fn period(timeout: Duration) -> Duration {
        timeout / (PERIODS as u32 - 1)
    }

    /// Ends a period. `true` when a reply has been unsent for all periods, or for one while
    /// reply memory is scarce.
    pub fn end_period(&self) -> bool {
        let current = usize::from(self.period.load(Relaxed));
        let next = (current + 1) % PERIODS;
        let has_unsent = |period: usize| self.unsent[period].load(Relaxed) > 0;
        let earlier = (0..PERIODS).filter(|period| *period != current);
        if has_unsent(next) || self.reply_memory.is_scarce() && earlier.into_iter().any(has_unsent)
        {
            return true;
        }
        self.period.store(next as u8, Relaxed);
        false
    }

    /// Whether reply memory is scarce: a connection with overdue replies gets no grace.
    pub fn is_short_of_memory(&self) -> bool {
        self.reply_memory.is_scarce()
    }

    /// Records that a batch contained a known session.
    pub fn note_recognised(&self) {
        self.has_recognised.store(true, Relaxed);
    }

    /// Whether a batch contained a known session.
    pub fn has_recognised(&self) -> bool {
        self.has_recognised.load(Relaxed)
    }

    /// Records that the connection is closed without sending its unsent bytes.
    pub fn abort(&self) {
        self.is_aborted.store(true, Relaxed);
    }

    /// Whether the connection is closed without sending its unsent bytes.
    pub fn is_aborted(&self) -> bool {
        self.is_aborted.load(Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn traffic(memory: &ReplyMemory) -> Arc<Traffic> {
        Traffic::new(2, memory, &CoarseClock::default())
    }

    #[test]
    fn requests_are_counted_until_their_permits_are_dropped() {
        let traffic = traffic(&ReplyMemory::default());
        let first = traffic.begin_request().unwrap();
        let _second = traffic.begin_request().unwrap();
        assert!(traffic.begin_request().is_none());
        drop(first);
        let third = traffic.begin_request();
        assert!(third.is_some() && traffic.is_busy());
    }

    #[test]
    fn a_reply_is_overdue_after_all_periods() {
        let traffic = traffic(&ReplyMemory::default());
        assert!(!traffic.end_period());
        let first = traffic.unsent_reply();
        let second = traffic.unsent_reply();
        for _ in 0..PERIODS - 1 {
            assert!(!traffic.end_period());
        }
        assert!(traffic.end_period());
        drop(second);
        assert!(traffic.end_period(), "the first is still unsent");
        drop(first);
        assert!(!traffic.end_period() && !traffic.has_unsent());
    }

    #[test]
    fn a_reply_is_overdue_after_one_period_while_memory_is_scarce() {
        let memory = ReplyMemory::new(1_000, 1_000);
        let (traffic, other) = (traffic(&memory), traffic(&memory));
        let _unsent = traffic.unsent_reply();
        let reservation = other.try_reserve_reply(900).unwrap().unwrap();
        assert!(!traffic.end_period(), "its first period is not over");
        assert!(traffic.end_period());
        drop(reservation);
        assert!(!traffic.end_period());
    }
}
