//! The time.

mod guard;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use chrono::{DateTime, SubsecRound as _, Utc};

pub use guard::{ClockGuard, ClockState};

/// A source of the time.
pub trait TimeSource: Send + Sync {
    /// The wall-clock time, which may be set at any moment.
    fn now(&self) -> DateTime<Utc>;

    /// The wall clock and the monotonic clock, read together.
    fn moment(&self) -> Moment;
}

/// The readings of both clocks at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment {
    /// The wall-clock time.
    pub calendar: DateTime<Utc>,
    /// The monotonic time, since an arbitrary moment. It may stop while the machine is
    /// suspended.
    pub running: Duration,
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

    /// The readings of both clocks.
    pub fn moment(&self) -> Moment {
        let Moment { calendar, running } = self.0.moment();
        Moment {
            calendar: calendar.trunc_subsecs(6),
            running,
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

    fn moment(&self) -> Moment {
        Moment {
            calendar: self.now(),
            running: self.0.elapsed(),
        }
    }
}
