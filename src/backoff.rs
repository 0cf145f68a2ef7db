//! Waits between attempts that double up to a maximum.

use std::time::Duration;

/// The waits between repeated attempts at one thing.
#[derive(Clone, Debug)]
pub struct Backoff {
    first: Duration,
    max: Duration,
    failures: u32,
}

impl Backoff {
    /// Waits from `first` up to `max`, each twice as long as the one before.
    pub const fn new(first: Duration, max: Duration) -> Self {
        Self {
            first,
            max,
            failures: 0,
        }
    }

    /// Counts a failed attempt, and returns the wait before the next one.
    pub fn next_wait(&mut self) -> Duration {
        self.failures = self.failures.saturating_add(1);
        self.wait_after(self.failures)
    }

    /// The wait after a number of failed attempts; after none, it is that after the first.
    pub fn wait_after(&self, failures: u32) -> Duration {
        let factor = 2_u32.saturating_pow(failures.saturating_sub(1));
        self.first.saturating_mul(factor).min(self.max)
    }

    /// Whether an attempt has failed since the start or the last reset.
    pub fn has_failed(&self) -> bool {
        self.failures > 0
    }

    /// Begins again after a successful attempt.
    pub fn reset(&mut self) {
        self.failures = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_maximum() {
        let mut backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(5));
        assert!(!backoff.has_failed());
        for seconds in [1, 2, 4, 5, 5] {
            assert_eq!(backoff.next_wait(), Duration::from_secs(seconds));
        }
        assert!(backoff.has_failed());
        backoff.reset();
        assert_eq!(backoff.next_wait(), Duration::from_secs(1));
        assert_eq!(backoff.wait_after(0), Duration::from_secs(1));
        assert_eq!(backoff.wait_after(u32::MAX), Duration::from_secs(5));
    }
}
