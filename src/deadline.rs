//! When a caller stops waiting, and the source of its request.

use std::time::{Duration, Instant};

use crate::domain::Network;

/// The moment at which the caller of a request stops waiting, on the monotonic clock, and
/// the [`Source`] of the request.
#[derive(Clone, Copy, Debug)]
pub struct Deadline {
    instant: Instant,
    source: Source,
}

/// The source of a request. Requests that wait for the same resource are queued by source,
/// so that a source with many requests delays its own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Source {
    /// This process itself.
    #[default]
    Own,
    /// A connection, by a number unique among open connections.
    Connection(usize),
    /// The network of a client behind a trusted proxy.
    Client(Network),
}

impl Deadline {
    /// A deadline this long from now; at most the ten years that a setting allows.
    pub fn after(patience: Duration) -> Self {
        Self {
            instant: Instant::now() + patience,
            source: Source::Own,
        }
    }

    /// The same deadline for a request of this source.
    pub fn with_source(self, source: Source) -> Self {
        Self { source, ..self }
    }

    /// The same deadline, or this long from now if earlier.
    pub fn at_most(self, patience: Duration) -> Self {
        let latest = Instant::now() + patience;
        Self {
            instant: latest.min(self.instant),
            ..self
        }
    }

    /// The moment of the deadline.
    pub fn instant(self) -> Instant {
        self.instant
    }

    /// The source of the request.
    pub fn source(self) -> Source {
        self.source
    }

    /// The time left from `now`; zero once the deadline has passed.
    pub fn remaining(self, now: Instant) -> Duration {
        self.instant.saturating_duration_since(now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_passed_deadline_leaves_no_time() {
        let patience = Duration::from_secs(5);
        let deadline = Deadline::after(patience);
        let end = deadline.instant();
        assert_eq!(deadline.remaining(end - patience), patience);
        assert_eq!(deadline.remaining(end), Duration::ZERO);
        assert_eq!(deadline.remaining(end + patience), Duration::ZERO);
    }
}
