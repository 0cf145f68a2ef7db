//! The share of its core that a thread gets.

use std::{fs, time::Duration};

/// The computing time over which a share is measured.
const WINDOW: Duration = Duration::from_millis(250);

/// Measures the share of its core that the calling thread gets.
pub(super) struct CpuShareMonitor {
    /// A smaller share than this is `Starved`.
    floor: f64,
    /// The time of the work in this window.
    elapsed: Duration,
    /// The shortest time in which it could have been done.
    at_best: Duration,
    /// The kernel's times at the start of the window, where available.
    before: Option<CpuTimes>,
}

/// The share of its core that a thread had, of the time in which it was runnable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum CpuShare {
    /// Less than the guaranteed share.
    Starved,
    /// At least the guaranteed share.
    Shared,
    /// Three quarters or more.
    Ample,
}

/// The times for which a thread has run, and has been runnable without a core, since it
/// started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct CpuTimes {
    ran: Duration,
    waited: Duration,
}

impl CpuShareMonitor {
    /// With the guaranteed share in percent.
    pub(super) fn new(share: u8) -> Self {
        Self {
            floor: f64::from(share) / 100.0,
            elapsed: Duration::ZERO,
            at_best: Duration::ZERO,
            before: None,
        }
    }

    /// Starts a window on the calling thread.
    pub(super) fn restart(&mut self) {
        self.elapsed = Duration::ZERO;
        self.at_best = Duration::ZERO;
        self.before = CpuTimes::of_this_thread();
    }

    /// Adds the time of some work, and the shortest time that it takes on an idle core.
    /// Returns the share at the end of each window.
    pub(super) fn observe(&mut self, elapsed: Duration, at_best: Duration) -> Option<CpuShare> {
        self.elapsed += elapsed;
        self.at_best += at_best;
        if self.elapsed < WINDOW {
            return None;
        }
        // The fallback: it cannot tell a slow core from a core that other threads use.
        let by_work = self.at_best.div_duration_f64(self.elapsed);
        let before = self.before;
        self.restart();
        let by_kernel = before
            .zip(self.before)
            .and_then(|(before, now)| now.share_since(before));
        let share = by_kernel.unwrap_or(by_work);
        Some(if share < self.floor {
            CpuShare::Starved
        } else if share < 0.75 {
            CpuShare::Shared
        } else {
            CpuShare::Ample
        })
    }
}

impl CpuTimes {
    /// Linux reports them, in nanoseconds.
    fn of_this_thread() -> Option<Self> {
        Self::parse(&fs::read_to_string("/proc/thread-self/schedstat").ok()?)
    }

    fn parse(text: &str) -> Option<Self> {
        let mut nanos = text.split_whitespace().map(|field| field.parse().ok());
        let mut next = || nanos.next().flatten().map(Duration::from_nanos);
        Some(Self {
            ran: next()?,
            waited: next()?,
        })
    }

    fn share_since(self, before: Self) -> Option<f64> {
        let ran = self.ran.checked_sub(before.ran)?;
        let runnable = ran + self.waited.checked_sub(before.waited)?;
        (!runnable.is_zero()).then(|| ran.div_duration_f64(runnable))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    /// The share without the kernel's times.
    fn share(floor: u8, elapsed: Duration, at_best: Duration) -> CpuShare {
        let mut monitor = CpuShareMonitor::new(floor);
        for _ in 0..1_000 {
            monitor.before = None;
            if let Some(share) = monitor.observe(elapsed, at_best) {
                return share;
            }
        }
        panic!("no share was returned");
    }

    #[test]
    fn without_the_kernel_the_share_is_the_best_time_per_time() {
        assert_eq!(share(50, MS, MS), CpuShare::Ample);
        assert_eq!(share(50, MS * 4, MS * 3), CpuShare::Ample);
        assert_eq!(share(50, MS * 2, MS), CpuShare::Shared);
        assert_eq!(share(50, MS * 5, MS * 2), CpuShare::Starved);
        assert_eq!(share(50, MS * 400, MS), CpuShare::Starved);
        assert_eq!(share(10, MS * 5, MS), CpuShare::Shared);
        assert_eq!(share(10, MS * 11, MS), CpuShare::Starved);
    }

    #[test]
    fn a_share_is_measured_over_a_window() {
        let mut monitor = CpuShareMonitor::new(50);
        assert_eq!(monitor.observe(MS * 200, MS), None);
        for _ in 0..49 {
            assert_eq!(monitor.observe(MS, MS), None);
        }
        assert!(monitor.observe(MS * 700, MS * 700).is_some());
        // The next window has begun.
        assert_eq!(monitor.observe(MS, MS), None);
    }

    #[test]
    fn the_share_is_of_the_runnable_time() {
        let times = |text| CpuTimes::parse(text).unwrap();
        let before = times("1000 500 7\n");
        assert_eq!(times("1600 700 9\n").share_since(before), Some(0.75));
        assert_eq!(times("1000 500 7\n").share_since(before), None);
        assert_eq!(times("900 500 7\n").share_since(before), None);
        for text in ["", "12", "a b c", "-1 2 3"] {
            assert_eq!(CpuTimes::parse(text), None, "{text:?}");
        }
    }
}
