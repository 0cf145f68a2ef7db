//! Retry times for refused callers.

use std::time::{Duration, Instant};

/// The longest retry time. Each refused caller reserves a moment of its own, so a flood
/// could otherwise postpone these without limit.
pub(super) const MAX_RETRY_AFTER: Duration = Duration::from_secs(10);

/// Spreads the retries of refused callers: each gets a different moment at which a job is
/// expected to be admitted.
#[derive(Clone, Default)]
pub(super) struct RetrySchedule {
    next: Option<Instant>,
}

impl RetrySchedule {
    /// The time until a retry, where the first job can be admitted in `room_in` and another
    /// one after each `interval`.
    pub(super) fn reserve(
        &mut self,
        now: Instant,
        room_in: Duration,
        interval: Duration,
    ) -> Duration {
        let soonest = now + room_in.saturating_add(interval).min(MAX_RETRY_AFTER);
        let reserved = self.next.map_or(soonest, |next| next.max(soonest));
        let reserved = reserved.min(now + MAX_RETRY_AFTER);
        self.next = Some(reserved + interval);
        reserved - now
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn each_refused_caller_gets_another_time() {
        let (mut schedule, now) = (RetrySchedule::default(), Instant::now());
        assert_eq!(schedule.reserve(now, MS * 20, MS * 5), MS * 25);
        assert_eq!(schedule.reserve(now, MS * 20, MS * 5), MS * 30);
        assert_eq!(schedule.reserve(now + MS * 2, MS * 20, MS * 5), MS * 33);
        // The reserved times have passed.
        assert_eq!(schedule.reserve(now + MS * 90, MS * 20, MS * 5), MS * 25);
    }

    #[test]
    fn no_retry_time_is_above_the_limit() {
        let (mut schedule, now) = (RetrySchedule::default(), Instant::now());
        for _ in 0..5_000 {
            assert!(schedule.reserve(now, MS * 20, MS * 5) <= MAX_RETRY_AFTER);
        }
        assert_eq!(schedule.reserve(now, Duration::MAX, MS), MAX_RETRY_AFTER);
    }
}
