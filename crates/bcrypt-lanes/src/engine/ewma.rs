//! The measured time of a unit of work.

use std::time::Duration;

/// The time constant of the average. With a shorter one, a pause would look like a slow
/// machine; with a longer one, a slow machine like a pause.
const TIME_CONSTANT: Duration = Duration::from_millis(250);

/// The weight of the initial guess, as measured time.
const GUESS_WEIGHT: Duration = Duration::from_millis(5);

/// The largest weight of one observation. A single thread that lost its core says little
/// about the others.
const MAX_OBSERVATION: Duration = Duration::from_millis(25);

/// The exponentially weighted moving average of the time of a unit of work.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ewma {
    seconds: f64,
    units: f64,
}

impl Ewma {
    /// Starts from a guess at the time of a unit.
    pub(super) fn new(unit: Duration) -> Self {
        let unit = unit.max(Duration::from_nanos(1));
        Self {
            seconds: GUESS_WEIGHT.as_secs_f64(),
            units: GUESS_WEIGHT.div_duration_f64(unit),
        }
    }

    /// Adds an observation.
    pub(super) fn observe(&mut self, elapsed: Duration, units: u64) {
        let counted = elapsed.min(MAX_OBSERVATION);
        let part = counted.as_secs_f64() / elapsed.as_secs_f64().max(f64::MIN_POSITIVE);
        let keep = TIME_CONSTANT.div_duration_f64(TIME_CONSTANT + counted);
        self.seconds = self.seconds * keep + counted.as_secs_f64();
        self.units = self.units * keep + units as f64 * part;
    }

    /// Lowers the average by an eighth. Called when it caused the refusal of a job on an idle
    /// thread: without jobs there are no observations, and too high an average would refuse
    /// all jobs forever.
    pub(super) fn lower(&mut self) {
        self.seconds *= 7.0 / 8.0;
    }

    /// The average time of a unit, never zero.
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
    fn observations_replace_the_guess() {
        let mut ewma = Ewma::new(MS * 100);
        assert!(about(ewma.unit(), MS * 100));
        for _ in 0..200 {
            ewma.observe(MS, 10);
        }
        assert!(about(ewma.unit(), MS / 10), "{:?}", ewma.unit());
    }

    #[test]
    fn a_pause_counts_by_its_length() {
        let mut ewma = Ewma::new(MS);
        for _ in 0..500 {
            ewma.observe(MS, 1);
        }
        ewma.observe(MS * 20, 1);
        assert!(ewma.unit() < MS * 12 / 10, "{:?}", ewma.unit());
    }

    #[test]
    fn a_slow_machine_shows_within_a_second() {
        let mut ewma = Ewma::new(MS);
        for _ in 0..500 {
            ewma.observe(MS, 1);
        }
        for _ in 0..250 {
            ewma.observe(MS * 4, 1);
        }
        assert!(about(ewma.unit(), MS * 4), "{:?}", ewma.unit());
    }

    #[test]
    fn a_single_long_pause_is_not_a_slow_machine() {
        let mut ewma = Ewma::new(MS);
        for _ in 0..500 {
            ewma.observe(MS, 1);
        }
        ewma.observe(MS * 5_000, 1);
        assert!(ewma.unit() < MS * 13 / 10, "{:?}", ewma.unit());
    }

    #[test]
    fn refusals_lower_the_average_within_reason() {
        let mut ewma = Ewma::new(MS * 1_000);
        let refusals = (0..).take_while(|_| {
            ewma.lower();
            ewma.unit() > MS
        });
        assert!(refusals.count() < 60);
    }

    #[test]
    fn zero_observations_do_not_divide_by_zero() {
        let mut ewma = Ewma::new(Duration::ZERO);
        ewma.observe(Duration::ZERO, 0);
        assert!(ewma.unit() > Duration::ZERO);
        ewma.observe(Duration::MAX / 2, 0);
        assert!(ewma.unit() > Duration::ZERO);
    }
}
