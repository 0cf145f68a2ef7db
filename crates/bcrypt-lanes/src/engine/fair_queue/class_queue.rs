//! The waiting jobs of one class, served evenly between their sources.

use std::{
    collections::{BTreeMap, HashMap},
    num::NonZeroU16,
    time::Instant,
};

use super::{Backlog, VirtualTime};
use crate::engine::{SourceKey, job::QueuedJob};

/// Virtual time that a unit of work takes in a class of weight 1.
const UNIT: VirtualTime = 1 << 16;

/// The queue of one class.
pub(super) struct ClassQueue<J, K> {
    weight: NonZeroU16,
    /// The virtual time at which the class's next job starts.
    pub(super) start: VirtualTime,
    /// The sources with waiting jobs.
    flows: HashMap<K, Flow<J>>,
    /// The total of all flows.
    total: Backlog,
    /// The start of the last served job, in the units of `Flow::start`.
    served: u64,
}

/// The waiting jobs of one source, at least one.
struct Flow<J> {
    /// By number, so oldest first.
    jobs: BTreeMap<u64, QueuedJob<J>>,
    work: u64,
    /// The begun work of this source, as a start tag among the class's flows.
    start: u64,
}

impl<J, K: SourceKey> ClassQueue<J, K> {
    pub(super) fn new(weight: NonZeroU16) -> Self {
        Self {
            weight,
            start: 0,
            flows: HashMap::new(),
            total: Backlog::default(),
            served: 0,
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.total.jobs == 0
    }

    /// All waiting jobs.
    pub(super) fn total(&self) -> Backlog {
        self.total
    }

    /// The virtual time that this work takes in this class.
    pub(super) fn virtual_time(&self, work: u64) -> VirtualTime {
        VirtualTime::from(work) * UNIT / VirtualTime::from(self.weight.get())
    }

    /// The work that this class does in this virtual time.
    pub(super) fn work_in(&self, time: VirtualTime) -> u64 {
        let work = time.saturating_mul(VirtualTime::from(self.weight.get())) / UNIT;
        u64::try_from(work).unwrap_or(u64::MAX)
    }

    pub(super) fn push(&mut self, source: K, number: u64, job: QueuedJob<J>) {
        self.total.jobs += 1;
        self.total.work += job.work;
        let flow = self.flows.entry(source).or_insert_with(|| Flow {
            jobs: BTreeMap::new(),
            work: 0,
            start: self.served,
        });
        flow.work += job.work;
        flow.jobs.insert(number, job);
    }

    /// Takes the next job to begin.
    pub(super) fn pop(&mut self) -> Option<QueuedJob<J>> {
        // Of flows with the same start, the one with the oldest job.
        let next = |(source, flow): (&K, &Flow<J>)| {
            let (number, _) = flow.jobs.first_key_value()?;
            Some((flow.start, *number, *source))
        };
        let flows = self.flows.iter().filter_map(next);
        let (start, number, source) = flows.min_by_key(|(start, number, _)| (*start, *number))?;
        let job = self.remove(source, number)?;
        self.served = start;
        if let Some(flow) = self.flows.get_mut(&source) {
            flow.start += job.work;
        }
        Some(job)
    }

    /// Takes a job out of the queue before it begins.
    pub(super) fn remove(&mut self, source: K, number: u64) -> Option<QueuedJob<J>> {
        let flow = self.flows.get_mut(&source)?;
        let job = flow.jobs.remove(&number)?;
        flow.work -= job.work;
        if flow.jobs.is_empty() {
            self.flows.remove(&source);
        }
        self.total.jobs -= 1;
        self.total.work -= job.work;
        Some(job)
    }

    /// A job queued before `instant`.
    pub(super) fn queued_before(&self, instant: Instant) -> Option<(K, u64)> {
        self.flows.iter().find_map(|(source, flow)| {
            let (number, oldest) = flow.jobs.first_key_value()?;
            (oldest.since < instant).then_some((*source, *number))
        })
    }

    /// The jobs of this class that would begin before a new job of the source; `None` is a
    /// source without waiting jobs.
    pub(super) fn backlog(&self, source: Option<K>) -> Backlog {
        let own = source.and_then(|source| self.flows.get(&source));
        let (start, before) = match own {
            Some(own) => (
                own.start + own.work,
                Backlog {
                    jobs: own.jobs.len() as u64,
                    work: own.work,
                },
            ),
            None => (self.served, Backlog::default()),
        };
        let others = self.flows.iter();
        others
            .filter(|(other, flow)| Some(**other) != source && flow.start <= start)
            .fold(before, |backlog, (_, other)| {
                let jobs = other.jobs.len() as u64;
                let mean = (other.work / jobs).max(1);
                // The last of them begins at the new job's start or before.
                let begun = jobs.min((start - other.start) / mean + 1);
                Backlog {
                    jobs: backlog.jobs + begun,
                    work: backlog.work + begun * mean,
                }
            })
    }

    /// The job that begins last, with its source and number.
    pub(super) fn last(&self) -> Option<(K, u64, &QueuedJob<J>)> {
        let lasts = self.flows.iter().filter_map(|(source, flow)| {
            let (number, last) = flow.jobs.last_key_value()?;
            let start = flow.start + flow.work - last.work;
            Some((start, *source, *number, last))
        });
        let (_, source, number, last) =
            lasts.max_by_key(|(start, _, number, _)| (*start, *number))?;
        Some((source, number, last))
    }
}
