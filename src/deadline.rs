//! When a caller stops waiting, and where its request comes from.

use std::time::{Duration, Instant};

use crate::domain::Network;

/// The moment at which whoever asked for something stops waiting for it, and the
/// [`Source`] of the request that it belongs to. The moment is on the monotonic clock,
/// which no test moves and no calendar sets.
#[derive(Clone, Copy, Debug)]
pub struct Deadline {
    instant: Instant,
    source: Source,
}

/// Where a request comes from, as far as requests that wait for the same thing take
/// turns: a source with many of them waits for itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Source {
    /// This process, or anything else that needs no turns.
    #[default]
    Own,
    /// A connection, by a number that no other open connection has.
    Connection(usize),
    /// The network of a client behind a trusted proxy.
    Client(Network),
}

impl Deadline {
    /// So long from now; at most the ten years that a setting can say.
    pub fn after(patience: Duration) -> Self {
        Self {
            instant: Instant::now() + patience,
            source: Source::Own,
        }
    }

    /// The same deadline for a request of this source.
    pub fn from_source(self, source: Source) -> Self {
        Self { source, ..self }
    }

    /// The deadline of the same request that is only so long from now.
    pub fn sooner(self, patience: Duration) -> Self {
        let sooner = Instant::now() + patience;
        Self {
            instant: sooner.min(self.instant),
            ..self
        }
    }

    /// The moment itself.
    pub fn instant(self) -> Instant {
        self.instant
    }

    /// Where the request comes from.
    pub fn source(self) -> Source {
        self.source
    }

    /// How long there is still from `now`: nothing once it has passed.
    pub fn remaining(self, now: Instant) -> Duration {
        self.instant.saturating_duration_since(now)
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
