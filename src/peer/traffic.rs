//! What one connection has in progress, and which of its replies wait to be sent.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicUsize, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use tokio::sync::Semaphore;

use super::reply_room::ReplyMemory;

/// Replies are told apart by the period in which they began to wait: a reply that is
/// still there when its period would begin again has waited for all the others.
const PERIODS: usize = 8;

/// A clock that is cheap to read: somebody sets it, several times a second.
#[derive(Clone, Debug)]
pub struct CoarseClock {
    start: Instant,
    now: Arc<AtomicU32>,
}

impl CoarseClock {
    /// How often it is to be set.
    pub const TICK: Duration = Duration::from_millis(100);

    /// Sets it.
    pub fn advance(&self) {
        let ticks = self.start.elapsed().as_millis() / Self::TICK.as_millis();
        self.now
            .store(u32::try_from(ticks).unwrap_or(u32::MAX), Relaxed);
    }

    /// The ticks since it was made, as of the last time that it was set.
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

/// What the requests of one connection share. All but the counters' readers run on the
/// task of the connection.
#[derive(Debug)]
pub struct Traffic {
    max_requests: usize,
    /// Those that were counted in and whose replies have not been sent whole.
    requests: AtomicUsize,
    clock: CoarseClock,
    last_request: AtomicU32,
    /// Replies that wait to be sent, by their period.
    waiting: [AtomicU32; PERIODS],
    period: AtomicU8,
    /// Bytes that may still wait on this connection.
    pub(super) room: Semaphore,
    pub(super) memory: ReplyMemory,
    is_cut_off: AtomicBool,
    has_recognised: AtomicBool,
}

/// A request that counts as in progress until this is dropped.
#[derive(Debug)]
pub struct RequestPermit(Arc<Traffic>);

impl Drop for RequestPermit {
    fn drop(&mut self) {
        self.0.requests.fetch_sub(1, Relaxed);
    }
}

/// A part of a reply that waits to be sent until this is dropped.
#[derive(Debug)]
pub struct WaitingReply {
    traffic: Arc<Traffic>,
    period: u8,
}

impl Drop for WaitingReply {
    fn drop(&mut self) {
        let period = usize::from(self.period);
        self.traffic.waiting[period].fetch_sub(1, Relaxed);
    }
}

impl Traffic {
    /// A connection that may have so many requests in progress.
    pub fn new(max_requests: usize, memory: &ReplyMemory, clock: &CoarseClock) -> Arc<Self> {
        Arc::new(Self {
            max_requests,
            requests: AtomicUsize::new(0),
            clock: clock.clone(),
            last_request: AtomicU32::new(clock.now()),
            waiting: Default::default(),
            period: AtomicU8::new(0),
            room: Semaphore::new(memory.per_connection()),
            memory: memory.clone(),
            is_cut_off: AtomicBool::new(false),
            has_recognised: AtomicBool::new(false),
        })
    }

    /// Counts a request in; `None` when the connection has its share in progress.
    pub fn begin_request(self: &Arc<Self>) -> Option<RequestPermit> {
        self.last_request.store(self.clock.now(), Relaxed);
        if self.requests.fetch_add(1, Relaxed) >= self.max_requests {
            self.requests.fetch_sub(1, Relaxed);
            return None;
        }
        Some(RequestPermit(Arc::clone(self)))
    }

    /// Counts a part of a reply that waits to be sent from now on.
    pub fn begin_to_wait(self: &Arc<Self>) -> WaitingReply {
        let period = self.period.load(Relaxed);
        self.waiting[usize::from(period)].fetch_add(1, Relaxed);
        WaitingReply {
            traffic: Arc::clone(self),
            period,
        }
    }

    /// Whether a request is in progress.
    pub fn is_busy(&self) -> bool {
        self.requests.load(Relaxed) > 0
    }

    /// When the last request came, or the connection, by the [`CoarseClock`].
    pub fn last_request(&self) -> u32 {
        self.last_request.load(Relaxed)
    }

    /// Whether any reply waits to be sent.
    pub fn has_waiting(&self) -> bool {
        self.waiting.iter().any(|count| count.load(Relaxed) > 0)
    }

    /// How long a period lasts so that no reply waits for longer than `longest` and a
    /// seventh of it.
    pub fn period(longest: Duration) -> Duration {
        longest / (PERIODS as u32 - 1)
    }

    /// Ends a period. `true` when a reply has waited for all the periods; or for one,
    /// while memory for replies is scarce.
    pub fn end_period(&self) -> bool {
        let current = usize::from(self.period.load(Relaxed));
        let next = (current + 1) % PERIODS;
        let waits = |period: usize| self.waiting[period].load(Relaxed) > 0;
        let earlier = (0..PERIODS).filter(|period| *period != current);
        if waits(next) || self.memory.is_scarce() && earlier.into_iter().any(waits) {
            return true;
        }
        self.period.store(next as u8, Relaxed);
        false
    }

    /// Whether memory for replies is scarce, so that nobody is to be waited for.
    pub fn is_short_of_memory(&self) -> bool {
        self.memory.is_scarce()
    }

    /// Notes that a session of a batch was recognised.
    pub fn note_recognised(&self) {
        self.has_recognised.store(true, Relaxed);
    }

    /// Whether a session of a batch was recognised.
    pub fn has_recognised(&self) -> bool {
        self.has_recognised.load(Relaxed)
    }

    /// Notes that the connection ends without what it has not sent.
    pub fn cut_off(&self) {
        self.is_cut_off.store(true, Relaxed);
    }

    /// Whether the connection ends without what it has not sent.
    pub fn is_cut_off(&self) -> bool {
        self.is_cut_off.load(Relaxed)
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
        let sent = traffic.begin_to_wait();
        let waiting = traffic.begin_to_wait();
        for _ in 0..PERIODS - 1 {
            assert!(!traffic.end_period());
        }
        assert!(traffic.end_period());
        drop(waiting);
        assert!(traffic.end_period(), "the other waits still");
        drop(sent);
        assert!(!traffic.end_period() && !traffic.has_waiting());
    }

    #[test]
    fn a_reply_has_less_time_while_memory_is_scarce() {
        let memory = ReplyMemory::new(1_000, 1_000);
        let (traffic, other) = (traffic(&memory), traffic(&memory));
        let _waiting = traffic.begin_to_wait();
        let most = other.try_reply_room(900).unwrap();
        assert!(!traffic.end_period(), "its first period is not over");
        assert!(traffic.end_period());
        drop(most);
        assert!(!traffic.end_period());
    }
}
