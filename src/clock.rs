//! The time.

mod guard;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use chrono::{DateTime, SubsecRound as _, Utc};

pub use guard::{ClockGuard, ClockState, MAX_DOWNTIME};

/// A source of the time.
pub trait TimeSource: Send + Sync {
    /// The wall-clock time, which may be set at any moment.
    fn now(&self) -> DateTime<Utc>;

    /// The wall clock and the monotonic clock, read together.
    fn reading(&self) -> ClockReading;
}

/// A reading of both clocks at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClockReading {
    /// The wall-clock time.
    pub wall: DateTime<Utc>,
    /// The monotonic time, since an arbitrary moment. It may stop while the machine is
    /// suspended.
    pub monotonic: Duration,
}

/// A source of the present time, passed as a parameter, so that a test can set it. Cheap to
/// clone.
#[derive(Clone)]
pub struct Clock(Arc<dyn TimeSource>);

impl Clock {
    /// The machine's clock.
    pub fn system() -> Self {
        Self::new(System(Instant::now()))
    }

    /// A clock with another source.
    pub fn new(source: impl TimeSource + 'static) -> Self {
        Self(Arc::new(source))
    }

    /// The present time in whole microseconds, the precision of both databases.
    pub fn now(&self) -> DateTime<Utc> {
        self.0.now().trunc_subsecs(6)
    }

    /// A reading of both clocks.
    pub fn reading(&self) -> ClockReading {
        let ClockReading { wall, monotonic } = self.0.reading();
        ClockReading {
            wall: wall.trunc_subsecs(6),
            monotonic,
        }
    }
}

/// The machine's clocks.
struct System(Instant);

impl TimeSource for System {
    #[expect(
        clippy::disallowed_methods,
        reason = "the one place that reads the system clock"
    )]
    fn now(&self) -> DateTime<Utc> {
        Utc::now()
    }

    fn reading(&self) -> ClockReading {
        ClockReading {
            wall: self.now(),
            monotonic: self.0.elapsed(),
        }
    }
}
