//! What time it is, for everyone who has to decide by it.

mod guard;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use chrono::{DateTime, SubsecRound as _, Utc};

pub use guard::{ClockGuard, ClockState};

/// Where the time comes from.
pub trait TimeSource: Send + Sync {
    /// The calendar's time, which may be set at any moment.
    fn now(&self) -> DateTime<Utc>;

    /// The calendar and the monotonic clock, read together.
    fn moment(&self) -> Moment;
}

/// Two clocks that were read together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment {
    /// The calendar's time.
    pub calendar: DateTime<Utc>,
    /// The time since some moment before, which nobody sets. It may stand still while
    /// the machine is suspended.
    pub running: Duration,
}

/// A source of the present time, passed to whoever needs it, so that a test
/// can move it. Cheap to clone.
#[derive(Clone)]
pub struct Clock(Arc<dyn TimeSource>);

impl Clock {
    /// The machine's clock.
    pub fn system() -> Self {
        Self::new(System(Instant::now()))
    }

    /// A clock that goes by another source.
    pub fn new(source: impl TimeSource + 'static) -> Self {
        Self(Arc::new(source))
    }

    /// The present time, in whole microseconds: what both databases keep.
    pub fn now(&self) -> DateTime<Utc> {
        self.0.now().trunc_subsecs(6)
    }

    /// The calendar and the monotonic clock.
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
        reason = "the one place that asks the machine"
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
