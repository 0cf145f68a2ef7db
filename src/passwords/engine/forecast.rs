//! When a computation would begin, from what goes on and how long that was measured
//! to take.

use std::time::{Duration, Instant};

use super::waiting::Ahead;

/// The longest that anybody is asked to stay away. Refused callers are given one
/// time each, so that all of them can be served; a flood could put these off for
/// ever.
pub(super) const MAX_RETRY_AFTER: Duration = Duration::from_secs(10);

/// `unit` times `work`, for more work than fits `u32`.
pub(super) fn times(unit: Duration, work: u64) -> Duration {
    let nanos = unit.as_nanos().saturating_mul(u128::from(work));
    Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
}

/// In how long each lane is free, in no order.
pub(super) struct Openings(Vec<Duration>);

impl Openings {
    /// From the instants when those in use are free, of so many in all.
    pub(super) fn new(in_use: impl Iterator<Item = Instant>, all: usize, now: Instant) -> Self {
        let mut free_in = vec![Duration::ZERO; all];
        for (lane, free_at) in free_in.iter_mut().zip(in_use) {
            // One that is overdue may be so for as long again.
            let overdue = now.saturating_duration_since(free_at);
            *lane = overdue.max(free_at.saturating_duration_since(now));
        }
        Self(free_in)
    }

    /// How long a computation waits with so much ahead of it: each one ahead takes
    /// the lane that is free next. As if all of them took as long as their mean.
    pub(super) fn wait(&mut self, ahead: Ahead, unit: Duration) -> Duration {
        let lanes = self.0.len() as u64;
        let mean = times(unit, ahead.work.checked_div(ahead.jobs).unwrap_or(0));
        let nth = (ahead.jobs % lanes) as usize;
        let (_, first, _) = self.0.select_nth_unstable(nth);
        first.saturating_add(times(mean, ahead.jobs / lanes))
    }

    /// How often one that takes so long ends while every lane is taken.
    pub(super) fn interval(&self, length: Duration) -> Duration {
        length / self.0.len() as u32
    }
}

/// What those who are refused are told: each a time of its own, when there is room
/// for one more.
#[derive(Default)]
pub(super) struct Returns {
    next: Option<Instant>,
}

impl Returns {
    /// When to come back, where there is room in `room_in` and then for one more in
    /// each `interval`.
    pub(super) fn give(&mut self, now: Instant, room_in: Duration, interval: Duration) -> Duration {
        let soonest = now + room_in.saturating_add(interval).min(MAX_RETRY_AFTER);
        let given = self.next.map_or(soonest, |next| next.max(soonest));
        let given = given.min(now + MAX_RETRY_AFTER);
        self.next = Some(given + interval);
        given - now
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn openings(free_in: &[u32], all: usize) -> Openings {
        let now = Instant::now();
        Openings::new(free_in.iter().map(|&ms| now + MS * ms), all, now)
    }

    fn wait(openings: &mut Openings, jobs: u64, work: u64) -> Duration {
        openings.wait(Ahead { jobs, work }, MS)
    }

    #[test]
    fn a_free_lane_is_no_wait() {
        assert_eq!(wait(&mut openings(&[50, 60], 3), 0, 0), Duration::ZERO);
        assert_eq!(wait(&mut openings(&[], 3), 2, 200), Duration::ZERO);
    }

    #[test]
    fn one_waits_for_the_lanes_that_those_ahead_leave() {
        let mut openings = openings(&[50, 10, 30], 3);
        assert_eq!(wait(&mut openings, 0, 0), MS * 10);
        assert_eq!(wait(&mut openings, 1, 100), MS * 30);
        assert_eq!(wait(&mut openings, 2, 200), MS * 50);
        assert_eq!(wait(&mut openings, 3, 300), MS * 110);
        assert_eq!(wait(&mut openings, 7, 700), MS * 230);
    }

    #[test]
    fn an_overdue_lane_is_not_free_yet() {
        let now = Instant::now();
        let mut openings = Openings::new([now - MS * 3].into_iter(), 1, now);
        assert_eq!(wait(&mut openings, 0, 0), MS * 3);
    }

    #[test]
    fn everyone_refused_comes_back_at_another_time() {
        let (mut returns, now) = (Returns::default(), Instant::now());
        assert_eq!(returns.give(now, MS * 20, MS * 5), MS * 25);
        assert_eq!(returns.give(now, MS * 20, MS * 5), MS * 30);
        assert_eq!(returns.give(now + MS * 2, MS * 20, MS * 5), MS * 33);
        // Those times have passed.
        assert_eq!(returns.give(now + MS * 90, MS * 20, MS * 5), MS * 25);
    }

    #[test]
    fn nobody_is_sent_away_for_longer_than_the_limit() {
        let (mut returns, now) = (Returns::default(), Instant::now());
        for _ in 0..5_000 {
            assert!(returns.give(now, MS * 20, MS * 5) <= MAX_RETRY_AFTER);
        }
        assert_eq!(returns.give(now, Duration::MAX, MS), MAX_RETRY_AFTER);
    }

    #[test]
    fn no_work_is_too_much_to_count() {
        assert_eq!(
            times(Duration::MAX, u64::MAX),
            Duration::from_nanos(u64::MAX)
        );
        assert_eq!(times(MS, 3), MS * 3);
    }
}
