//! A server process, and its CPU time.

use std::{
    collections::HashMap,
    fs,
    io::{BufRead as _, BufReader},
    net::SocketAddr,
    process::{Child, ChildStdout, Command, Stdio},
    time::Duration,
};

/// A server, killed when dropped.
pub struct Process {
    pub address: SocketAddr,
    pub child: Child,
    /// Kept open for its further output.
    _output: BufReader<ChildStdout>,
}

impl Process {
    /// Starts the server and waits for its address; returns its first line if it has no address.
    pub fn start(command: &mut Command) -> Result<Self, String> {
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the binary starts");
        let mut output = BufReader::new(child.stdout.take().expect("its output"));
        let mut greeting = String::new();
        output.read_line(&mut greeting).expect("a greeting");
        let mut words = greeting.split_whitespace();
        let Some(address) = words.find_map(|word| word.parse().ok()) else {
            let _ = child.kill();
            let _ = child.wait();
            return Err(greeting);
        };
        Ok(Self {
            address,
            child,
            _output: output,
        })
    }

    /// The CPU time of each of its threads.
    pub fn threads(&self) -> ThreadTimes {
        let folder = fs::read_dir(format!("/proc/{}/task", self.child.id()));
        let ids = folder
            .expect("its threads")
            .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
        // A thread may have ended in the meantime.
        let times = ids.filter_map(|id| Some((id, self.thread(id)?)));
        ThreadTimes(times.collect())
    }

    /// The CPU time of one of its threads, counted by the kernel in nanoseconds; for a running
    /// thread, up to its last tick.
    pub fn thread(&self, id: u32) -> Option<Duration> {
        let path = format!("/proc/{}/task/{id}/schedstat", self.child.id());
        let text = fs::read_to_string(path).ok()?;
        let nanoseconds = text.split(' ').next()?.parse().ok()?;
        Some(Duration::from_nanos(nanoseconds))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The CPU time of threads by their ids.
pub struct ThreadTimes(pub HashMap<u32, Duration>);

impl ThreadTimes {
    /// The time of each thread since an earlier reading.
    pub fn each_since(&self, earlier: &Self) -> impl Iterator<Item = (u32, Duration)> {
        self.0.iter().map(|(id, time)| {
            let before = earlier.0.get(id).copied().unwrap_or_default();
            (*id, time.saturating_sub(before))
        })
    }

    /// The time of all threads since an earlier reading.
    pub fn since(&self, earlier: &Self) -> Duration {
        self.each_since(earlier).map(|(_, time)| time).sum()
    }
}
