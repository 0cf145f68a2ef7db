//! When a caller stops waiting.

use std::time::{Duration, Instant};

/// The moment at which whoever asked for something stops waiting for it. It is
/// on the monotonic clock, which no test moves and no calendar sets.
#[derive(Clone, Copy, Debug)]
pub struct Deadline(Instant);

impl Deadline {
    /// So long from now; at most the ten years that a setting can say.
    pub fn after(patience: Duration) -> Self {
        Self(Instant::now() + patience)
    }

    /// The moment itself.
    pub fn instant(self) -> Instant {
        self.0
    }

    /// How long there is still from `now`: nothing once it has passed.
    pub fn remaining(self, now: Instant) -> Duration {
        self.0.saturating_duration_since(now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_passed_leaves_no_time() {
        let patience = Duration::from_secs(5);
        let deadline = Deadline::after(patience);
        let end = deadline.instant();
        assert_eq!(deadline.remaining(end - patience), patience);
        assert_eq!(deadline.remaining(end), Duration::ZERO);
        assert_eq!(deadline.remaining(end + patience), Duration::ZERO);
    }
}
