//! The lease under which the session cache may be used, which keeps the freshness bound
//! (`revocation-max-lag`).

use std::{
    sync::atomic::{AtomicI64, AtomicU64, Ordering},
    time::{Duration, Instant},
};

use chrono::{DateTime, Utc};

use crate::domain::Revision;

/// Valid while the cache is at most `max_lag` behind the log. Each reading of the log
/// renews it.
///
/// A reading sees every revocation acknowledged before the reading began, since those were
/// committed and visible to every later query. So until `max_lag` after its beginning, the
/// cache includes every revocation acknowledged more than `max_lag` ago.
///
/// Two clocks have to agree: the monotonic one, which cannot be set, and the wall clock,
/// which goes on while the machine sleeps.
pub(super) struct FreshnessLease {
    start: Instant,
    max_lag: Duration,
    /// In nanoseconds since `start`.
    until: AtomicU64,
    /// In microseconds since the Unix epoch.
    wall_until: AtomicI64,
    revision: AtomicI64,
}

/// When a reading began, by both clocks.
#[derive(Clone, Copy)]
pub(super) struct ReadStart {
    pub(super) instant: Instant,
    pub(super) wall: DateTime<Utc>,
}

impl FreshnessLease {
    pub(super) fn new(max_lag: Duration) -> Self {
        Self {
            start: Instant::now(),
            max_lag,
            until: AtomicU64::new(0),
            wall_until: AtomicI64::new(i64::MIN),
            revision: AtomicI64::new(0),
        }
    }

    pub(super) fn max_lag(&self) -> Duration {
        self.max_lag
    }

    /// Extends the lease after a reading was applied to the cache.
    pub(super) fn renew(&self, began: ReadStart, revision: Revision) {
        let until = self.since_start(began.instant) + nanoseconds(self.max_lag);
        let wall_until = (began.wall + self.max_lag).timestamp_micros();
        self.revision.store(revision.0, Ordering::SeqCst);
        self.until.store(until, Ordering::SeqCst);
        self.wall_until.store(wall_until, Ordering::SeqCst);
    }

    /// Ends the lease.
    pub(super) fn revoke(&self) {
        self.until.store(0, Ordering::SeqCst);
    }

    /// The revision that the cache includes, while the lease is valid.
    pub(super) fn valid_revision(&self, now: DateTime<Utc>) -> Option<Revision> {
        let revision = self.revision();
        let is_proven = self.since_start(Instant::now()) < self.until.load(Ordering::SeqCst)
            && now.timestamp_micros() < self.wall_until.load(Ordering::SeqCst);
        is_proven.then_some(revision)
    }

    pub(super) fn revision(&self) -> Revision {
        Revision(self.revision.load(Ordering::SeqCst))
    }

    fn since_start(&self, instant: Instant) -> u64 {
        nanoseconds(instant.saturating_duration_since(self.start))
    }
}

/// Sufficient for 584 years.
fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LAG: Duration = Duration::from_secs(1);

    #[test]
    fn the_lease_ends_max_lag_after_a_reading_began() {
        let (lease, now) = (FreshnessLease::new(LAG), DateTime::UNIX_EPOCH);
        assert_eq!(lease.valid_revision(now), None);
        let began = |ago: Duration| ReadStart {
            instant: Instant::now() - ago,
            wall: now - ago,
        };
        lease.renew(began(Duration::ZERO), Revision(7));
        assert_eq!(lease.valid_revision(now), Some(Revision(7)));
        lease.renew(began(LAG), Revision(8));
        assert_eq!(lease.valid_revision(now), None);
        assert_eq!(lease.revision(), Revision(8));
        lease.renew(began(LAG / 2), Revision(9));
        assert_eq!(lease.valid_revision(now), Some(Revision(9)));
        lease.revoke();
        assert_eq!(lease.valid_revision(now), None);
    }

    #[test]
    fn a_suspended_machine_has_no_lease() {
        let (lease, now) = (FreshnessLease::new(LAG), DateTime::UNIX_EPOCH);
        let began = ReadStart {
            instant: Instant::now(),
            wall: now,
        };
        lease.renew(began, Revision(7));
        assert_eq!(lease.valid_revision(now + LAG), None);
        let earlier = now - Duration::from_secs(3_600);
        assert_eq!(
            lease.valid_revision(earlier),
            Some(Revision(7)),
            "a clock set back"
        );
    }
}
