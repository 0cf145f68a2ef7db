//! The settings of an engine and the options of a job.

use std::{
    hash::Hash,
    num::{NonZero, NonZeroU16},
    thread,
    time::{Duration, Instant},
};

/// The lowest share of CPU time that hashing can be given, in percent.
pub const MIN_SHARE: u8 = 1;

/// The highest share, in percent. Without privileges a thread cannot raise its priority
/// above the default, at which two threads get half of a core each.
pub const MAX_SHARE: u8 = 50;

/// The default share, in percent.
pub const DEFAULT_SHARE: u8 = 50;

/// The settings of an [`Engine`](super::Engine).
#[derive(Clone, Debug)]
pub struct EngineConfig {
    /// The number of cores to hash on, at least 1. The default is the number of cores that
    /// this process may use. Each core has four threads, of which at most two compute at a
    /// time: one for bcrypt and one for the jobs of [`Engine::run`](super::Engine::run).
    pub threads: usize,
    /// The base of both limits on the wait until a job begins, 2 seconds by default. A job is
    /// admitted if its estimated wait is at most three quarters of this. An admitted job is
    /// refused later only if its wait exceeds twice this value, because the machine has
    /// slowed down or other classes claim their shares.
    pub max_wait: Duration,
    /// The guaranteed share of the cores' CPU time while jobs wait, in percent: from
    /// [`MIN_SHARE`] to [`MAX_SHARE`], by default [`DEFAULT_SHARE`]. It holds against one
    /// thread of the default priority per core.
    pub share: u8,
    /// One weight for each class of jobs, at least one; by default a single class. Classes
    /// with waiting jobs share the cores in proportion to their weights.
    pub class_weights: Vec<NonZeroU16>,
}

impl Default for EngineConfig {
    fn default() -> Self {
        Self {
            threads: thread::available_parallelism().map_or(1, NonZero::get),
            max_wait: Duration::from_secs(2),
            share: DEFAULT_SHARE,
            class_weights: vec![NonZeroU16::MIN],
        }
    }
}

impl EngineConfig {
    /// The first invalid setting, described.
    pub(super) fn check(&self) -> Result<(), &'static str> {
        if self.threads == 0 {
            Err("an engine needs at least one thread")
        } else if !(MIN_SHARE..=MAX_SHARE).contains(&self.share) {
            Err("the share must be between 1 and 50 percent")
        } else if self.class_weights.is_empty() {
            Err("an engine needs at least one class")
        } else {
            Ok(())
        }
    }
}

/// A key that tells the sources of jobs apart, such as an IP address or the number of a
/// connection.
pub trait SourceKey: Copy + Eq + Hash + Send + 'static {}

impl<K: Copy + Eq + Hash + Send + 'static> SourceKey for K {}

/// The options of one job.
#[derive(Clone, Copy, Debug)]
pub struct JobOptions<K> {
    /// The job's class, an index into [`EngineConfig::class_weights`]. A method of the
    /// engine panics if it is out of range.
    pub class: usize,
    /// The source of the job. Within a class, sources share the cores evenly, by work.
    pub source: K,
    /// The moment at which the caller stops waiting. A job that would not end before it is
    /// refused.
    pub deadline: Instant,
    /// Refuse the job unless it can begin at once without slowing others down.
    pub only_if_idle: bool,
}

impl<K> JobOptions<K> {
    /// A job of the first class, to be queued if it cannot begin at once.
    pub fn new(source: K, deadline: Instant) -> Self {
        Self {
            class: 0,
            source,
            deadline,
            only_if_idle: false,
        }
    }

    /// The time from `now` until the deadline.
    pub(super) fn time_left(&self, now: Instant) -> Duration {
        self.deadline.saturating_duration_since(now)
    }
}
