//! Which core is whose.

use std::{
    fs,
    path::Path,
    process::{Command, Stdio},
};

/// The cores that this process was given, by their numbers.
pub struct Cores(Vec<u32>);

impl Cores {
    /// `None` where there are fewer than two.
    pub fn given() -> Option<Self> {
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

    /// The one of a server that is measured alone.
    pub fn of_server(&self) -> u32 {
        self.0[0]
    }

    /// The first ones, so many of them, for several servers; one is left at least.
    pub fn of_servers(&self, cores: usize) -> &[u32] {
        &self.0[..cores.min(self.0.len() - 1)]
    }

    /// Lets this thread, and those that it will start, run on the others alone.
    pub fn leave_to_servers(&self, cores: usize) {
        take(&self.0[self.of_servers(cores).len()..]);
    }

    /// Of what one server leaves, the first for a flood.
    pub fn take_for_flood(&self) {
        take(&self.0[1..2]);
    }

    /// The others, if there are any, for those who call meanwhile: who waits for a
    /// core to ask with would be slow by itself.
    pub fn take_for_callers(&self) {
        take(&self.0[2.min(self.0.len() - 1)..]);
    }
}

/// Lets this thread, and those that it will start, run on some cores alone.
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

/// Whether there is the program that pins.
pub fn can_pin() -> bool {
    let version = Command::new("taskset")
        .arg("--version")
        .stdout(Stdio::null())
        .status();
    version.is_ok_and(|status| status.success())
}

/// A program that runs on one core, and so finds only one, without our environment.
pub fn command(core: u32, program: &Path) -> Command {
    let mut command = Command::new("taskset");
    command
        .env_clear()
        .args(["-c", &core.to_string()])
        .arg(program);
    command
}
