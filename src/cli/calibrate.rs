//! `bienvenue calibrate`: a table of the bcrypt costs on this machine.

use std::{fmt, time::Duration};

use crate::passwords::Calibration;

/// The costs in the table.
const COSTS: std::ops::RangeInclusive<u32> = 10..=14;

/// The default of `bcrypt-cost`.
const DEFAULT_COST: u32 = 12;

/// The longest time of a hash at a login that people do not notice as a delay.
const MAX_RECOMMENDED: Duration = Duration::from_millis(400);

/// The table. It displays as text.
pub struct CostTable(pub Calibration);

impl CostTable {
    /// The highest cost at which a single hash is short enough.
    fn recommended(&self) -> u32 {
        COSTS
            .rev()
            .find(|&cost| self.0.lone.mul_f64(Calibration::factor(cost)) <= MAX_RECOMMENDED)
            .unwrap_or(*COSTS.start())
    }
}

impl fmt::Display for CostTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let measured = &self.0;
        let threads = match measured.threads {
            1 => "1 thread".to_owned(),
            threads => format!("{threads} threads"),
        };
        writeln!(
            f,
            "Logins per second, by bcrypt cost, with {threads} (--hash-threads). Measured at cost \
             10;\neach step doubles the work.\n"
        )?;
        let heads = [
            ["", "one hash", "one core", "the machine", "one core,"],
            ["", "", "", "", "one at a time"],
            ["cost", "takes", "logins/s", "logins/s", "logins/s"],
        ];
        for [cost, lone, core, machine, one] in heads {
            let line = format!("  {cost:>4} {lone:>12} {core:>12} {machine:>14} {one:>16}");
            writeln!(f, "{}", line.trim_end())?;
        }
        for cost in COSTS {
            let factor = Calibration::factor(cost);
            writeln!(
                f,
                "  {cost:>4} {:>9.0} ms {:>12.1} {:>14.1} {:>16.1}{}",
                measured.lone.as_secs_f64() * 1_000.0 * factor,
                measured.one_core / factor,
                measured.machine / factor,
                measured.one_at_a_time / factor,
                if cost == DEFAULT_COST {
                    "    default"
                } else {
                    ""
                },
            )?;
        }
        writeln!(
            f,
            "\nTake the highest cost at which one hash is quick enough for a person and the machine \
             has\ncapacity to spare at peak load; not under 10. By the time of one hash ({} ms at \
             most):\n\n  --bcrypt-cost={}",
            MAX_RECOMMENDED.as_millis(),
            self.recommended(),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(lone_ms: u64) -> CostTable {
        CostTable(Calibration {
            threads: 4,
            lone: Duration::from_millis(lone_ms),
            one_core: 80.0,
            machine: 320.0,
            one_at_a_time: 16.0,
        })
    }

    #[test]
    fn each_cost_takes_twice_the_time_of_the_one_below() {
        let text = table(60).to_string();
        let rows: Vec<Vec<&str>> = text
            .lines()
            .map(|line| line.split_whitespace().collect())
            .filter(|row: &Vec<&str>| row.first().is_some_and(|cost| cost.parse::<u32>().is_ok()))
            .collect();
        assert_eq!(
            rows,
            [
                vec!["10", "60", "ms", "80.0", "320.0", "16.0"],
                vec!["11", "120", "ms", "40.0", "160.0", "8.0"],
                vec!["12", "240", "ms", "20.0", "80.0", "4.0", "default"],
                vec!["13", "480", "ms", "10.0", "40.0", "2.0"],
                vec!["14", "960", "ms", "5.0", "20.0", "1.0"],
            ]
        );
    }

    #[test]
    fn the_highest_cost_that_is_quick_enough_is_recommended() {
        for (lone_ms, cost) in [(20, 14), (40, 13), (50, 13), (51, 12), (120, 11), (900, 10)] {
            let line = format!("  --bcrypt-cost={cost}\n");
            assert!(table(lone_ms).to_string().ends_with(&line), "{lone_ms}");
        }
    }
}
