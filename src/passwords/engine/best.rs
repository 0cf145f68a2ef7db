//! How long a unit of work takes at best, without believing that for ever.

use std::time::Duration;

/// The time of a unit that nothing is much quicker than. It decides whether a
/// deadline is too short even on an idle core, and whoever is refused by it is not
/// measured: so each refusal makes it more hopeful, until somebody is let in and it
/// learns.
#[derive(Clone, Copy, Debug)]
pub(super) struct Best(Duration);

impl Best {
    /// Begins with a guess, and hopes for half of it.
    pub(super) fn new(guess: Duration) -> Self {
        Self(guess / 2)
    }

    /// Takes in what a unit took: at once where it was quicker, slowly where not.
    pub(super) fn observe(&mut self, unit: Duration) {
        self.0 = match unit.checked_sub(self.0) {
            Some(slower) => self.0 + slower / 256,
            None => unit,
        };
    }

    /// Somebody was refused by it.
    pub(super) fn doubt(&mut self) {
        self.0 -= self.0 / 8;
    }

    pub(super) fn unit(self) -> Duration {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn it_learns_what_is_quicker_at_once_and_what_is_slower_in_time() {
        let mut best = Best::new(MS * 10);
        best.observe(MS * 2);
        assert_eq!(best.unit(), MS * 2);
        best.observe(MS * 4);
        assert!(best.unit() < MS * 21 / 10);
        for _ in 0..2_000 {
            best.observe(MS * 4);
        }
        assert!(best.unit() > MS * 39 / 10 && best.unit() <= MS * 4);
    }

    #[test]
    fn nobody_is_refused_for_ever() {
        let mut best = Best::new(MS * 1_000);
        let refusals = (0..).take_while(|_| {
            best.doubt();
            best.unit() > MS
        });
        assert!(refusals.count() < 60);
    }
}
