//! How much of its core a thread gets.

use std::time::Duration;

/// How long that is looked at before it counts.
const WINDOW: Duration = Duration::from_millis(250);

/// What a thread's work took, against what it takes on a core of its own.
#[derive(Default)]
pub(super) struct Pulse {
    took: Duration,
    at_best: Duration,
}

/// What share of a core a thread had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Share {
    /// Less than a quarter.
    Starved,
    /// Some of it.
    Shared,
    /// Three quarters or more.
    Ample,
}

impl Pulse {
    /// Takes in some work, and tells the share whenever it was looked at for long
    /// enough.
    pub(super) fn observe(&mut self, took: Duration, at_best: Duration) -> Option<Share> {
        self.took += took;
        self.at_best += at_best;
        if self.took < WINDOW {
            return None;
        }
        let Self { took, at_best } = std::mem::take(self);
        Some(if at_best < took / 4 {
            Share::Starved
        } else if at_best < took / 4 * 3 {
            Share::Shared
        } else {
            Share::Ample
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn share(took: Duration, at_best: Duration) -> Share {
        let mut pulse = Pulse::default();
        for _ in 0..1_000 {
            if let Some(share) = pulse.observe(took, at_best) {
                return share;
            }
        }
        panic!("never told");
    }

    #[test]
    fn the_share_is_what_it_took_at_best() {
        assert_eq!(share(MS, MS), Share::Ample);
        assert_eq!(share(MS * 4, MS * 3), Share::Ample);
        assert_eq!(share(MS * 2, MS), Share::Shared);
        assert_eq!(share(MS * 5, MS), Share::Starved);
        assert_eq!(share(MS * 400, MS), Share::Starved);
    }

    #[test]
    fn one_bad_moment_is_not_a_share() {
        let mut pulse = Pulse::default();
        assert_eq!(pulse.observe(MS * 200, MS), None);
        for _ in 0..49 {
            assert_eq!(pulse.observe(MS, MS), None);
        }
        assert_eq!(pulse.observe(MS * 700, MS * 700), Some(Share::Ample));
        // And it begins anew.
        assert_eq!(pulse.observe(MS, MS), None);
    }
}
