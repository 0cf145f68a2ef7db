//! The estimated wait of a job, from the lanes in use and the measured time of a unit of
//! work.

use std::time::{Duration, Instant};

use super::fair_queue::Backlog;

/// `unit` times `work`, also for more work than fits into `u32`. Saturates.
pub(super) fn times(unit: Duration, work: u64) -> Duration {
    let nanos = unit.as_nanos().saturating_mul(u128::from(work));
    Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
}

/// The time until each lane is free, in no particular order.
pub(super) struct WaitEstimate(Vec<Duration>);

impl WaitEstimate {
    /// From the moments at which the lanes in use are expected to be free, and the number
    /// of all lanes.
    pub(super) fn new(in_use: impl Iterator<Item = Instant>, all: usize, now: Instant) -> Self {
        let mut free_in = vec![Duration::ZERO; all];
        for (lane, free_at) in free_in.iter_mut().zip(in_use) {
            // An overdue lane is expected to take as long again as it is overdue.
            let overdue = now.saturating_duration_since(free_at);
            *lane = overdue.max(free_at.saturating_duration_since(now));
        }
        Self(free_in)
    }

    /// The wait of a job behind a backlog. Each job ahead takes the next free lane;
    /// all of them are assumed to take the mean time.
    pub(super) fn wait(&mut self, backlog: Backlog, unit: Duration) -> Duration {
        let lanes = self.0.len() as u64;
        let mean = times(unit, backlog.work.checked_div(backlog.jobs).unwrap_or(0));
        let nth = (backlog.jobs % lanes) as usize;
        let (_, first, _) = self.0.select_nth_unstable(nth);
        first.saturating_add(times(mean, backlog.jobs / lanes))
    }

    /// The mean time between the ends of jobs of this length while every lane is in use.
    pub(super) fn interval(&self, length: Duration) -> Duration {
        length / self.0.len() as u32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn estimate(free_in: &[u32], all: usize) -> WaitEstimate {
        let now = Instant::now();
        WaitEstimate::new(free_in.iter().map(|&ms| now + MS * ms), all, now)
    }

    fn wait(estimate: &mut WaitEstimate, jobs: u64, work: u64) -> Duration {
        estimate.wait(Backlog { jobs, work }, MS)
    }

    #[test]
    fn a_job_with_a_free_lane_does_not_wait() {
        assert_eq!(wait(&mut estimate(&[50, 60], 3), 0, 0), Duration::ZERO);
        assert_eq!(wait(&mut estimate(&[], 3), 2, 200), Duration::ZERO);
    }

    #[test]
    fn a_job_waits_for_the_lanes_that_the_backlog_leaves() {
        let mut estimate = estimate(&[50, 10, 30], 3);
        assert_eq!(wait(&mut estimate, 0, 0), MS * 10);
        assert_eq!(wait(&mut estimate, 1, 100), MS * 30);
        assert_eq!(wait(&mut estimate, 2, 200), MS * 50);
        assert_eq!(wait(&mut estimate, 3, 300), MS * 110);
        assert_eq!(wait(&mut estimate, 7, 700), MS * 230);
    }

    #[test]
    fn an_overdue_lane_is_not_free_yet() {
        let now = Instant::now();
        let mut estimate = WaitEstimate::new([now - MS * 3].into_iter(), 1, now);
        assert_eq!(wait(&mut estimate, 0, 0), MS * 3);
    }

    #[test]
    fn times_saturates() {
        assert_eq!(
            times(Duration::MAX, u64::MAX),
            Duration::from_nanos(u64::MAX)
        );
        assert_eq!(times(MS, 3), MS * 3);
    }
}
