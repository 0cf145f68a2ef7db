//! How long a unit of work takes, measured as it goes.

use std::time::Duration;

/// What was longer ago than this counts little. Shorter, and a moment's pause would
/// look like a slow machine; longer, and a slow machine would look like a pause.
const MEMORY: Duration = Duration::from_millis(250);

/// How long a guess counts for, against what is measured.
const GUESS: Duration = Duration::from_millis(5);

/// The longest that one observation counts for: a thread that was kept waiting says
/// little of the others.
const MOST_AT_ONCE: Duration = Duration::from_millis(25);

/// The mean time of a unit over the last moments.
#[derive(Clone, Copy, Debug)]
pub(super) struct Gauge {
    seconds: f64,
    units: f64,
}

impl Gauge {
    /// Begins with a guess at the time of a unit.
    pub(super) fn new(unit: Duration) -> Self {
        let unit = unit.max(Duration::from_nanos(1));
        Self {
            seconds: GUESS.as_secs_f64(),
            units: GUESS.div_duration_f64(unit),
        }
    }

    /// Takes in that so many units took so long.
    pub(super) fn observe(&mut self, took: Duration, units: u64) {
        let counted = took.min(MOST_AT_ONCE);
        let part = counted.as_secs_f64() / took.as_secs_f64().max(f64::MIN_POSITIVE);
        let keep = MEMORY.div_duration_f64(MEMORY + counted);
        self.seconds = self.seconds * keep + counted.as_secs_f64();
        self.units = self.units * keep + units as f64 * part;
    }

    /// Somebody was refused by it who would have begun at once, and will not be
    /// measured: so that nobody is refused for ever, the next one has better hope.
    pub(super) fn doubt(&mut self) {
        self.seconds *= 7.0 / 8.0;
    }

    /// The mean time of a unit; never nothing.
    pub(super) fn unit(&self) -> Duration {
        let unit = Duration::try_from_secs_f64(self.seconds / self.units);
        unit.unwrap_or(Duration::MAX).max(Duration::from_nanos(1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn about(unit: Duration, expected: Duration) -> bool {
        unit > expected * 9 / 10 && unit < expected * 11 / 10
    }

    #[test]
    fn a_guess_gives_way_to_what_is_measured() {
        let mut gauge = Gauge::new(MS * 100);
        assert!(about(gauge.unit(), MS * 100));
        for _ in 0..200 {
            gauge.observe(MS, 10);
        }
        assert!(about(gauge.unit(), MS / 10), "{:?}", gauge.unit());
    }

    #[test]
    fn a_pause_counts_for_its_length() {
        let mut gauge = Gauge::new(MS);
        for _ in 0..500 {
            gauge.observe(MS, 1);
        }
        gauge.observe(MS * 20, 1);
        assert!(gauge.unit() < MS * 12 / 10, "{:?}", gauge.unit());
    }

    #[test]
    fn a_slow_machine_shows_within_a_second() {
        let mut gauge = Gauge::new(MS);
        for _ in 0..500 {
            gauge.observe(MS, 1);
        }
        for _ in 0..250 {
            gauge.observe(MS * 4, 1);
        }
        assert!(about(gauge.unit(), MS * 4), "{:?}", gauge.unit());
    }

    #[test]
    fn one_thread_that_stood_still_is_not_a_slow_machine() {
        let mut gauge = Gauge::new(MS);
        for _ in 0..500 {
            gauge.observe(MS, 1);
        }
        gauge.observe(MS * 5_000, 1);
        assert!(gauge.unit() < MS * 13 / 10, "{:?}", gauge.unit());
    }

    #[test]
    fn nobody_is_refused_for_ever() {
        let mut gauge = Gauge::new(MS * 1_000);
        let refusals = (0..).take_while(|_| {
            gauge.doubt();
            gauge.unit() > MS
        });
        assert!(refusals.count() < 60);
    }

    #[test]
    fn nothing_is_divided_by() {
        let mut gauge = Gauge::new(Duration::ZERO);
        gauge.observe(Duration::ZERO, 0);
        assert!(gauge.unit() > Duration::ZERO);
        gauge.observe(Duration::MAX / 2, 0);
        assert!(gauge.unit() > Duration::ZERO);
    }
}
