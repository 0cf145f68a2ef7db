//! The assignment of cores.

use std::{
    fs,
    path::Path,
    process::{Command, Stdio},
};

/// The cores available to this process, by number.
pub struct Cores(Vec<u32>);

impl Cores {
    /// `None` with fewer than two cores.
    pub fn available() -> Option<Self> {
        let status = fs::read_to_string("/proc/self/status").ok()?;
        let list = status
            .lines()
            .find_map(|line| line.strip_prefix("Cpus_allowed_list:"))?;
        let mut cores = Vec::new();
        for range in list.trim().split(',') {
            let (first, last) = range.split_once('-').unwrap_or((range, range));
            cores.extend(first.parse::<u32>().ok()?..=last.parse().ok()?);
        }
        (cores.len() >= 2).then_some(Self(cores))
    }

    /// The core of a server measured alone.
    pub fn of_server(&self) -> u32 {
        self.0[0]
    }

    /// The first cores, for several servers; at least one core remains.
    pub fn of_servers(&self, cores: usize) -> &[u32] {
        &self.0[..cores.min(self.0.len() - 1)]
    }

    /// Restricts this thread, and threads started by it, to the other cores.
    pub fn leave_to_servers(&self, cores: usize) {
        take(&self.0[self.of_servers(cores).len()..]);
    }

    /// Restricts this thread to the first core after one server's, for a flood.
    pub fn take_for_flood(&self) {
        take(&self.0[1..2]);
    }

    /// Restricts this thread to the remaining cores, if any, for concurrent callers: waiting
    /// for a core would distort their times.
    pub fn take_for_callers(&self) {
        take(&self.0[2.min(self.0.len() - 1)..]);
    }
}

/// Restricts this thread, and threads started by it, to some cores.
fn take(cores: &[u32]) {
    let cores: Vec<String> = cores.iter().map(u32::to_string).collect();
    let thread = fs::read_link("/proc/thread-self").expect("this thread");
    let thread = thread.file_name().expect("its id");
    let pinned = Command::new("taskset")
        .args(["-c", "-p", &cores.join(",")])
        .arg(thread)
        .stdout(Stdio::null())
        .status();
    assert!(pinned.is_ok_and(|status| status.success()), "taskset");
}

/// Whether taskset is installed.
pub fn can_pin() -> bool {
    let version = Command::new("taskset")
        .arg("--version")
        .stdout(Stdio::null())
        .status();
    version.is_ok_and(|status| status.success())
}

/// A program restricted to one core, which is all it detects, with an empty environment.
pub fn command(core: u32, program: &Path) -> Command {
    let mut command = Command::new("taskset");
    command
        .env_clear()
        .args(["-c", &core.to_string()])
        .arg(program);
    command
}
