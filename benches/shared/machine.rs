//! The machine, and the CPU time of the benchmark and of other processes.

use std::{
    fs,
    num::NonZero,
    ops::Range,
    thread,
    time::{Duration, Instant},
};

/// The number of cores available to this process and its servers.
pub fn cores() -> usize {
    thread::available_parallelism().map_or(1, NonZero::get)
}

/// The machine in one line.
pub fn description() -> String {
    let processors = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = processors
        .lines()
        .find_map(|line| line.strip_prefix("model name")?.split_once(": "))
        .map_or("an unknown processor", |(_, model)| model);
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let load = load.split(' ').next().unwrap_or_default();
    format!("{model}, {} cores, load average {load} before", cores())
}

/// Measures the CPU time of this process from its creation.
pub struct OwnCpu {
    start: Instant,
    spent: Duration,
}

impl OwnCpu {
    pub fn count() -> Self {
        Self {
            start: Instant::now(),
            spent: own(TIMES),
        }
    }

    /// The average number of cores used since.
    pub fn cores(&self) -> f64 {
        (own(TIMES) - self.spent).div_duration_f64(self.start.elapsed())
    }
}

/// Measures the CPU time of other processes, excluding the benchmark's servers.
pub struct Others {
    start: Instant,
    spent: Duration,
}

impl Others {
    pub fn count() -> Self {
        Self {
            start: Instant::now(),
            spent: others(),
        }
    }

    /// A note on the cores used by others since, once the benchmark's servers have ended.
    pub fn note(&self) -> String {
        let spent = others().saturating_sub(self.spent);
        let cores = spent.div_duration_f64(self.start.elapsed());
        format!(
            "Other processes kept {cores:.2} cores busy meanwhile; the figures are reliable only \
             near 0."
        )
    }
}

/// The busy time of all cores, including stolen time, without this process's.
fn others() -> Duration {
    let stat = fs::read_to_string("/proc/stat").unwrap_or_default();
    let all = stat.lines().next().unwrap_or_default();
    // user, nice, system, idle, iowait, irq, softirq, steal (proc(5)).
    let fields: Vec<u64> = all.split_whitespace().flat_map(str::parse).collect();
    let busy = fields.iter().take(8).sum::<u64>() - fields.iter().skip(3).take(2).sum::<u64>();
    (TICK * u32::try_from(busy).unwrap_or(u32::MAX)).saturating_sub(own(TIMES_WITH_CHILDREN))
}

/// The fields of user and system time in a process's statistics (proc(5)), counted after its
/// name; then including those of ended children.
const TIMES: Range<usize> = 11..13;
const TIMES_WITH_CHILDREN: Range<usize> = 11..15;

const TICK: Duration = Duration::from_millis(10);

fn own(times: Range<usize>) -> Duration {
    let stat = fs::read_to_string("/proc/self/stat").expect("this process's statistics");
    let (_, fields) = stat.rsplit_once(") ").expect("a name in brackets");
    let fields: Vec<&str> = fields.split(' ').collect();
    let ticks = fields[times].iter().map(|field| field.parse::<u32>());
    TICK * ticks.map(|ticks| ticks.expect("a number")).sum::<u32>()
}
