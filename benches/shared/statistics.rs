//! Statistics of measurements.

use std::{fmt, time::Duration};

/// The median and the extremes of some measurements.
pub struct Spread {
    pub least: f64,
    pub median: f64,
    pub most: f64,
}

impl Spread {
    /// Requires at least one value.
    pub fn of(mut values: Vec<f64>) -> Self {
        values.sort_by(f64::total_cmp);
        let middle = values.len() / 2;
        let median = if values.len().is_multiple_of(2) {
            f64::midpoint(values[middle - 1], values[middle])
        } else {
            values[middle]
        };
        Self {
            least: values[0],
            median,
            most: values[values.len() - 1],
        }
    }
}

impl fmt::Display for Spread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            least,
            median,
            most,
        } = self;
        write!(f, "{median:.1}, {least:.1} to {most:.1}")
    }
}

/// Sorts times; returns the 99th percentile in milliseconds.
pub fn p99_ms(times: &mut [Duration]) -> f64 {
    times.sort();
    let rank = (times.len() * 99).div_ceil(100);
    milliseconds(times[rank.max(1) - 1])
}

pub fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}
