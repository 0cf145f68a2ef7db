//! Until when memory may be relied on.

use std::{
    sync::atomic::{AtomicI64, AtomicU64, Ordering},
    time::{Duration, Instant},
};

use chrono::{DateTime, Utc};

use crate::domain::Revision;

/// The proof, renewed with each reading of the log, that memory is not further
/// behind than it may be.
///
/// A reading that began at a moment has seen whatever was acknowledged before
/// it: that was committed, and visible to every later query. So until `max_lag`
/// after that moment, nothing that was acknowledged longer than `max_lag` ago is
/// missing.
///
/// It counts by two clocks, and both have to agree: the monotonic one, which
/// nobody sets, and the calendar's, which goes on while the machine sleeps.
pub(super) struct Currency {
    start: Instant,
    max_lag: Duration,
    /// Nanoseconds from `start`.
    until: AtomicU64,
    /// Microseconds of the calendar.
    calendar_until: AtomicI64,
    revision: AtomicI64,
}

/// When a reading began.
#[derive(Clone, Copy)]
pub(super) struct Moment {
    pub(super) instant: Instant,
    pub(super) calendar: DateTime<Utc>,
}

impl Currency {
    pub(super) fn new(max_lag: Duration) -> Self {
        Self {
            start: Instant::now(),
            max_lag,
            until: AtomicU64::new(0),
            calendar_until: AtomicI64::new(i64::MIN),
            revision: AtomicI64::new(0),
        }
    }

    pub(super) fn max_lag(&self) -> Duration {
        self.max_lag
    }

    /// Notes that all there was when a reading began has been taken into account.
    pub(super) fn prove(&self, began: Moment, revision: Revision) {
        let until = self.since_start(began.instant) + nanoseconds(self.max_lag);
        let calendar_until = (began.calendar + self.max_lag).timestamp_micros();
        self.revision.store(revision.0, Ordering::SeqCst);
        self.until.store(until, Ordering::SeqCst);
        self.calendar_until.store(calendar_until, Ordering::SeqCst);
    }

    /// Takes back what was proven.
    pub(super) fn doubt(&self) {
        self.until.store(0, Ordering::SeqCst);
    }

    /// The revision up to which everything is taken into account, while that is
    /// proven.
    pub(super) fn at(&self, now: DateTime<Utc>) -> Option<Revision> {
        let revision = self.revision();
        let is_proven = self.since_start(Instant::now()) < self.until.load(Ordering::SeqCst)
            && now.timestamp_micros() < self.calendar_until.load(Ordering::SeqCst);
        is_proven.then_some(revision)
    }

    pub(super) fn revision(&self) -> Revision {
        Revision(self.revision.load(Ordering::SeqCst))
    }

    fn since_start(&self, instant: Instant) -> u64 {
        nanoseconds(instant.saturating_duration_since(self.start))
    }
}

/// Enough for 584 years.
fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LAG: Duration = Duration::from_secs(1);

    #[test]
    fn it_is_proven_until_the_lag_after_a_reading_began() {
        let (currency, now) = (Currency::new(LAG), DateTime::UNIX_EPOCH);
        assert_eq!(currency.at(now), None);
        let began = |ago: Duration| Moment {
            instant: Instant::now() - ago,
            calendar: now - ago,
        };
        currency.prove(began(Duration::ZERO), Revision(7));
        assert_eq!(currency.at(now), Some(Revision(7)));
        currency.prove(began(LAG), Revision(8));
        assert_eq!(currency.at(now), None);
        assert_eq!(currency.revision(), Revision(8));
        currency.prove(began(LAG / 2), Revision(9));
        assert_eq!(currency.at(now), Some(Revision(9)));
        currency.doubt();
        assert_eq!(currency.at(now), None);
    }

    #[test]
    fn a_machine_that_slept_proves_nothing() {
        let (currency, now) = (Currency::new(LAG), DateTime::UNIX_EPOCH);
        let began = Moment {
            instant: Instant::now(),
            calendar: now,
        };
        currency.prove(began, Revision(7));
        assert_eq!(currency.at(now + LAG), None);
        let earlier = now - Duration::from_secs(3_600);
        assert_eq!(currency.at(earlier), Some(Revision(7)), "a clock set back");
    }
}
