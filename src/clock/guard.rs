//! The decision whether the wall clock is trusted to delete expired rows.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};

use super::ClockReading;

/// The tolerated deviation of the wall clock from the monotonic clock between two records.
const TOLERANCE: Duration = Duration::from_secs(300);

/// The longest downtime after which the clock is still trusted. Expired rows are removed after the
/// same delay: a row that seems to be past its limit by that delay, by a clock ahead by less, has
/// reached its limit.
pub const MAX_DOWNTIME: Duration = Duration::from_secs(86_400);

/// The time without another jump after which a clock is trusted again. It is less than a day, so
/// that a service restarted every night reaches it.
const STEADY: Duration = Duration::from_secs(23 * 3_600);

/// The interval at which the present time is recorded.
const RECORD_EVERY: Duration = Duration::from_secs(3_600);

/// Whether the wall clock is trusted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClockState {
    /// Rows that have expired by the clock may be deleted.
    Trusted {
        /// Whether to record the time, for the next start.
        is_to_record: bool,
    },
    /// It has jumped, or there is no recorded time to compare it with.
    Doubted,
}

/// Compares the wall clock with the monotonic clock, and at the start with the last recorded time.
///
/// A wall clock that continues from a trusted time is trusted. After a jump of more than five
/// minutes it is trusted again as soon as it is back, or when it has not jumped again for 23 hours:
/// then it was set on purpose.
#[derive(Debug)]
pub struct ClockGuard {
    /// `None` if no time was ever recorded.
    trusted: Option<Anchor>,
    /// The time after a jump.
    candidate: Option<Anchor>,
}

/// A reading of both clocks, from which they are expected to advance together.
#[derive(Clone, Copy, Debug)]
struct Anchor {
    reading: ClockReading,
    /// The tolerated lead of the wall clock over the expected time.
    may_be_ahead: Duration,
}

impl Anchor {
    fn at(reading: ClockReading) -> Self {
        Self {
            reading,
            may_be_ahead: TOLERANCE,
        }
    }

    fn age(&self, now: ClockReading) -> Duration {
        now.monotonic.saturating_sub(self.reading.monotonic)
    }

    fn agrees(&self, now: ClockReading) -> bool {
        let passed = now.wall.signed_duration_since(self.reading.wall);
        let ahead = passed - delta(self.age(now));
        (-delta(TOLERANCE)..=delta(self.may_be_ahead)).contains(&ahead)
    }
}

/// Converts a duration; those used here are far from the limits of either type.
fn delta(duration: Duration) -> TimeDelta {
    TimeDelta::from_std(duration).unwrap_or(TimeDelta::MAX)
}

impl ClockGuard {
    /// Begins with the last recorded time, if any. The wall clock may be up to a day ahead of
    /// it, since no time was recorded while the service was down, but not behind.
    pub fn new(recorded: Option<DateTime<Utc>>, now: ClockReading) -> Self {
        let trusted = recorded.map(|wall| Anchor {
            reading: ClockReading {
                wall,
                monotonic: now.monotonic,
            },
            may_be_ahead: MAX_DOWNTIME,
        });
        Self {
            trusted,
            candidate: None,
        }
    }

    /// Evaluates a reading of both clocks.
    pub fn observe(&mut self, now: ClockReading) -> ClockState {
        if let Some(trusted) = self.trusted.filter(|trusted| trusted.agrees(now)) {
            self.candidate = None;
            let is_to_record = trusted.may_be_ahead > TOLERANCE || trusted.age(now) >= RECORD_EVERY;
            if is_to_record {
                self.trusted = Some(Anchor::at(now));
            }
            return ClockState::Trusted { is_to_record };
        }
        match self.candidate.filter(|candidate| candidate.agrees(now)) {
            None => {
                self.candidate = Some(Anchor::at(now));
                ClockState::Doubted
            }
            Some(candidate) if candidate.age(now) < STEADY => ClockState::Doubted,
            Some(_) => {
                self.trusted = Some(Anchor::at(now));
                self.candidate = None;
                ClockState::Trusted { is_to_record: true }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: i64 = 3_600;
    const DAY: i64 = 24 * HOUR;

    /// The seconds since the epoch by the wall clock, and the monotonic seconds since the start.
    fn reading(wall: i64, monotonic: i64) -> ClockReading {
        ClockReading {
            wall: at(wall),
            monotonic: Duration::from_secs(monotonic.unsigned_abs()),
        }
    }

    fn at(seconds: i64) -> DateTime<Utc> {
        DateTime::UNIX_EPOCH + TimeDelta::seconds(seconds)
    }

    fn is_trusted(guard: &mut ClockGuard, wall: i64, monotonic: i64) -> bool {
        guard.observe(reading(wall, monotonic)) != ClockState::Doubted
    }

    #[test]
    fn a_start_is_compared_with_the_recorded_time() {
        for (recorded, expected) in [
            (Some(0), true),
            (Some(-DAY), true),
            (Some(-DAY - 1), false),
            (Some(-8 * DAY), false),
            (Some(300), true),
            (Some(301), false),
            (Some(400 * DAY), false),
            (None, false),
        ] {
            let mut guard = ClockGuard::new(recorded.map(at), reading(0, 0));
            assert_eq!(is_trusted(&mut guard, 0, 0), expected, "{recorded:?}");
        }
    }

    #[test]
    fn a_jump_is_doubted_until_it_is_undone() {
        for jump in [301, HOUR, 8 * DAY, -301, -400 * DAY] {
            let mut guard = ClockGuard::new(Some(at(0)), reading(0, 0));
            assert!(is_trusted(&mut guard, 0, 0));
            assert!(is_trusted(&mut guard, 60, 60));
            assert!(!is_trusted(&mut guard, 120 + jump, 120), "{jump}");
            assert!(!is_trusted(&mut guard, 180 + jump, 180), "{jump}");
            assert!(is_trusted(&mut guard, 240, 240), "{jump}");
        }
    }

    #[test]
    fn a_jump_is_trusted_after_23_hours() {
        for jump in [8 * DAY, -400 * DAY] {
            let mut guard = ClockGuard::new(Some(at(0)), reading(0, 0));
            assert!(is_trusted(&mut guard, 0, 0));
            for hours in 0..23 {
                let passed = 60 + hours * HOUR;
                assert!(
                    !is_trusted(&mut guard, passed + jump, passed),
                    "{jump} {hours}"
                );
            }
            let passed = 60 + 23 * HOUR;
            assert!(is_trusted(&mut guard, passed + jump, passed), "{jump}");
            assert!(
                !is_trusted(&mut guard, passed, passed),
                "{jump}: back again"
            );
        }
    }

    #[test]
    fn a_clock_that_keeps_jumping_is_never_trusted() {
        let mut guard = ClockGuard::new(None, reading(0, 0));
        for hours in 0..100 {
            assert!(!is_trusted(&mut guard, hours * (HOUR + 600), hours * HOUR));
        }
    }

    #[test]
    fn small_steps_are_tolerated_and_the_time_is_recorded_hourly() {
        let mut guard = ClockGuard::new(Some(at(-HOUR)), reading(0, 0));
        let mut recorded = 0;
        for minutes in 0..48 * 60 {
            let now = reading(minutes * 61, minutes * 60);
            match guard.observe(now) {
                ClockState::Trusted { is_to_record } => recorded += i64::from(is_to_record),
                ClockState::Doubted => panic!("{minutes}"),
            }
        }
        assert_eq!(recorded, 48);
    }
}
