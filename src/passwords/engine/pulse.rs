//! How much of its core a thread gets.

use std::{fs, time::Duration};

/// How long that is looked at before it counts.
const WINDOW: Duration = Duration::from_millis(250);

/// What a thread's work took, and how long it ran and waited for its core meanwhile.
pub(super) struct Pulse {
    /// Less than this part of a core is too little.
    floor: f64,
    took: Duration,
    at_best: Duration,
    /// The kernel's count when the window began; `None` where there is none.
    before: Option<CoreTimes>,
}

/// What share of a core a thread had, of the time in which it wanted it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Share {
    /// Less than it is to have at least.
    Starved,
    /// Some of it.
    Shared,
    /// Three quarters or more.
    Ample,
}

/// How long a thread has run and how long it could have run but did not get a core,
/// since it started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct CoreTimes {
    ran: Duration,
    waited: Duration,
}

impl Pulse {
    /// For a thread that is to have this share of its core at least, in percent.
    pub(super) fn new(share: u8) -> Self {
        Self {
            floor: f64::from(share) / 100.0,
            took: Duration::ZERO,
            at_best: Duration::ZERO,
            before: None,
        }
    }

    /// Begins a window, on this thread.
    pub(super) fn restart(&mut self) {
        self.took = Duration::ZERO;
        self.at_best = Duration::ZERO;
        self.before = CoreTimes::of_this_thread();
    }

    /// Takes in some work and what it takes on a core of its own, and tells the share
    /// whenever it was looked at for long enough.
    pub(super) fn observe(&mut self, took: Duration, at_best: Duration) -> Option<Share> {
        self.took += took;
        self.at_best += at_best;
        if self.took < WINDOW {
            return None;
        }
        // By the work alone, a core that is slower than it was at best would look like
        // one that others use.
        let by_work = self.at_best.div_duration_f64(self.took);
        let before = self.before;
        self.restart();
        let by_kernel = before
            .zip(self.before)
            .and_then(|(before, now)| now.share_since(before));
        let share = by_kernel.unwrap_or(by_work);
        Some(if share < self.floor {
            Share::Starved
        } else if share < 0.75 {
            Share::Shared
        } else {
            Share::Ample
        })
    }
}

impl CoreTimes {
    /// Linux counts them, in nanoseconds.
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
        let wanted = ran + self.waited.checked_sub(before.waited)?;
        (!wanted.is_zero()).then(|| ran.div_duration_f64(wanted))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    /// By the work alone.
    fn share(floor: u8, took: Duration, at_best: Duration) -> Share {
        let mut pulse = Pulse::new(floor);
        for _ in 0..1_000 {
            pulse.before = None;
            if let Some(share) = pulse.observe(took, at_best) {
                return share;
            }
        }
        panic!("never told");
    }

    #[test]
    fn the_share_is_what_it_took_at_best() {
        assert_eq!(share(50, MS, MS), Share::Ample);
        assert_eq!(share(50, MS * 4, MS * 3), Share::Ample);
        assert_eq!(share(50, MS * 2, MS), Share::Shared);
        assert_eq!(share(50, MS * 5, MS * 2), Share::Starved);
        assert_eq!(share(50, MS * 400, MS), Share::Starved);
        assert_eq!(share(10, MS * 5, MS), Share::Shared);
        assert_eq!(share(10, MS * 11, MS), Share::Starved);
    }

    #[test]
    fn one_bad_moment_is_not_a_share() {
        let mut pulse = Pulse::new(50);
        assert_eq!(pulse.observe(MS * 200, MS), None);
        for _ in 0..49 {
            assert_eq!(pulse.observe(MS, MS), None);
        }
        assert!(pulse.observe(MS * 700, MS * 700).is_some());
        // And it begins anew.
        assert_eq!(pulse.observe(MS, MS), None);
    }

    #[test]
    fn the_kernel_counts_what_a_thread_wanted() {
        let times = |text| CoreTimes::parse(text).unwrap();
        let before = times("1000 500 7\n");
        assert_eq!(times("1600 700 9\n").share_since(before), Some(0.75));
        assert_eq!(times("1000 500 7\n").share_since(before), None);
        assert_eq!(times("900 500 7\n").share_since(before), None);
        for text in ["", "12", "a b c", "-1 2 3"] {
            assert_eq!(CoreTimes::parse(text), None, "{text:?}");
        }
    }
}
