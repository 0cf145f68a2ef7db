//! The waiting jobs of one class, served evenly between their sources.
//!
//! Each source has a start tag, which grows with its begun work; the source with the lowest
//! tag is next. A new source starts at the virtual time, which is at least the start tag of
//! the last served job.
//!
//! A source keeps its tag after its last job has left the queue, until the virtual time has
//! reached it. Without the tag, a source that sends each job when its previous one has begun
//! would start at the virtual time again and again, ahead of every source with a backlog.
//!
//! A source that leaves the queue moves the virtual time on: by the work of its begun job, or
//! by its lead if its last job was cancelled, divided by the number of waiting sources.
//! Otherwise new sources of one job each, arriving at the rate of service, would all start at
//! the same tag: the sources with higher tags would never be served, and the kept tags would
//! never be dropped.
//!
//! The number of kept tags is bounded in proportion to the number of sources that wait at the
//! same time: no job starts above the virtual time, so a tag is ahead of it by the work of
//! one job at most, and is reached after about as many departures with such a lead as there
//! are waiting sources.

use std::{
    collections::{BTreeMap, HashMap},
    num::NonZeroU16,
    time::Instant,
};

use super::{Backlog, VirtualTime};
use crate::engine::{SourceKey, job::QueuedJob};

/// Virtual time that a unit of work takes in a class of weight 1, and for a source.
const UNIT: VirtualTime = 1 << 16;

/// The queue of one class.
pub(super) struct ClassQueue<J, K> {
    weight: NonZeroU16,
    /// The virtual time at which the class's next job starts.
    pub(super) start: VirtualTime,
    /// The sources with waiting jobs, and those whose tag was above the virtual time when the
    /// last job was served.
    flows: HashMap<K, Flow<J>>,
    /// The number of sources with waiting jobs.
    waiting: usize,
    /// The total of all flows.
    total: Backlog,
    /// The virtual time of the flows, at which a new source starts. Unrelated to the tags of
    /// the classes.
    flow_time: VirtualTime,
}

/// The waiting jobs of one source.
struct Flow<J> {
    /// By number, so oldest first.
    jobs: BTreeMap<u64, QueuedJob<J>>,
    work: u64,
    /// The start tag of the source's next job.
    start: VirtualTime,
}

impl<J> Flow<J> {
    fn new() -> Self {
        Self {
            jobs: BTreeMap::new(),
            work: 0,
            start: 0,
        }
    }

    fn is_waiting(&self) -> bool {
        !self.jobs.is_empty()
    }

    /// Whether this flow differs from that of a new source.
    fn is_needed(&self, flow_time: VirtualTime) -> bool {
        self.is_waiting() || self.start > flow_time
    }

    fn take(&mut self, number: u64) -> Option<QueuedJob<J>> {
        let job = self.jobs.remove(&number)?;
        self.work -= job.work;
        Some(job)
    }
}

/// The virtual time that this work takes in a flow.
fn time_of(work: u64) -> VirtualTime {
    VirtualTime::from(work) * UNIT
}

impl<J, K: SourceKey> ClassQueue<J, K> {
    pub(super) fn new(weight: NonZeroU16) -> Self {
        Self {
            weight,
            start: 0,
            flows: HashMap::new(),
            waiting: 0,
            total: Backlog::default(),
            flow_time: 0,
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
        let flow = self.flows.entry(source).or_insert_with(Flow::new);
        if !flow.is_waiting() {
            flow.start = flow.start.max(self.flow_time);
            self.waiting += 1;
        }
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
        let flow = self.flows.get_mut(&source)?;
        let job = flow.take(number)?;
        let length = time_of(job.work);
        flow.start += length;
        self.flow_time = self.flow_time.max(start);
        if !flow.is_waiting() {
            self.count_departure(length);
        }
        self.subtract(&job);
        let flow_time = self.flow_time;
        self.flows.retain(|_, flow| flow.is_needed(flow_time));
        Some(job)
    }

    /// Takes a job out of the queue before it begins. Its source is not charged for it, since
    /// no core has worked on it. The source stays charged for its begun jobs: otherwise, a
    /// caller could cancel one job to have the next one served early.
    pub(super) fn remove(&mut self, source: K, number: u64) -> Option<QueuedJob<J>> {
        let flow = self.flows.get_mut(&source)?;
        let job = flow.take(number)?;
        if !flow.is_waiting() {
            let lead = flow.start.saturating_sub(self.flow_time);
            if lead == 0 {
                self.flows.remove(&source);
            }
            self.count_departure(lead);
        }
        self.subtract(&job);
        Some(job)
    }

    /// Moves the virtual time on for a source whose last job has left the queue: `lead` is the
    /// work that it has had ahead of the others.
    fn count_departure(&mut self, lead: VirtualTime) {
        // Rounded up, so that the virtual time grows for any number of sources.
        self.flow_time += lead.div_ceil(self.waiting as VirtualTime);
        self.waiting -= 1;
    }

    fn subtract(&mut self, job: &QueuedJob<J>) {
        self.total.jobs -= 1;
        self.total.work -= job.work;
        if self.is_empty() {
            // The next jobs do not wait for each other, so the tags have no meaning for them.
            self.flows.clear();
        }
    }

    /// A job queued before `instant`.
    pub(super) fn queued_before(&self, instant: Instant) -> Option<(K, u64)> {
        self.flows.iter().find_map(|(source, flow)| {
            let (number, oldest) = flow.jobs.first_key_value()?;
            (oldest.since < instant).then_some((*source, *number))
        })
    }

    /// The jobs of this class that would begin before a new job of the source; `None` is a
    /// new source.
    pub(super) fn backlog(&self, source: Option<K>) -> Backlog {
        let own = source.and_then(|source| self.flows.get(&source));
        let own = own.filter(|flow| flow.is_needed(self.flow_time));
        let (start, before) = match own {
            Some(own) => (
                own.start + time_of(own.work),
                Backlog {
                    jobs: own.jobs.len() as u64,
                    work: own.work,
                },
            ),
            None => (self.flow_time, Backlog::default()),
        };
        let others = self.flows.iter();
        others
            .filter(|(_, flow)| flow.is_waiting() && flow.start <= start)
            .filter(|(other, _)| Some(**other) != source)
            .fold(before, |backlog, (_, other)| {
                let jobs = other.jobs.len() as u64;
                let mean = (other.work / jobs).max(1);
                // The last of them begins at the new job's start or before.
                let earlier = (start - other.start) / time_of(mean);
                let begun = u64::try_from(earlier + 1).map_or(jobs, |begun| begun.min(jobs));
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
            let start = flow.start + time_of(flow.work - last.work);
            Some((start, *source, *number, last))
        });
        let (_, source, number, last) =
            lasts.max_by_key(|(start, _, number, _)| (*start, *number))?;
        Some((source, number, last))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use proptest::prelude::*;

    use super::*;

    const A: u32 = 0;
    const B: u32 = 1;
    const FIRST_OTHER: u32 = 100;

    /// A queue whose jobs are the numbers of their sources.
    struct Sources {
        queue: ClassQueue<u32, u32>,
        next_number: u64,
    }

    impl Sources {
        fn new() -> Self {
            Self {
                queue: ClassQueue::new(NonZeroU16::MIN),
                next_number: 0,
            }
        }

        fn push(&mut self, source: u32, work: u64) -> u64 {
            let number = self.next_number;
            self.next_number += 1;
            let job = QueuedJob {
                job: source,
                work,
                since: Instant::now(),
            };
            self.queue.push(source, number, job);
            number
        }

        fn pop(&mut self) -> Option<u32> {
            self.queue.pop().map(|queued| queued.job)
        }

        fn cancel_all(&mut self, source: u32) {
            let flow = self.queue.flows.get(&source);
            let numbers = flow.map(|flow| Vec::from_iter(flow.jobs.keys().copied()));
            for number in numbers.unwrap_or_default() {
                assert!(self.queue.remove(source, number).is_some());
            }
        }

        fn drain(&mut self) -> Vec<u32> {
            std::iter::from_fn(|| self.pop()).collect()
        }
    }

    #[test]
    fn a_source_at_the_rate_of_service_alternates_with_a_backlog() {
        let mut sources = Sources::new();
        for _ in 0..20 {
            sources.push(A, 10);
        }
        let mut order = Vec::new();
        for _ in 0..20 {
            order.extend(sources.pop());
            sources.push(B, 10);
        }
        assert_eq!(order, [A, B].repeat(10));
    }

    /// It sends each job when its previous one has begun.
    #[test]
    fn a_source_without_a_backlog_gets_half_of_the_work() {
        for work in [1, 7, 10, 25] {
            let mut sources = Sources::new();
            for _ in 0..1_000 {
                sources.push(A, 10);
            }
            sources.push(B, work);
            let mut done = [0, 0];
            for _ in 0..500 {
                let source = sources.pop().unwrap();
                if source == B {
                    sources.push(B, work);
                }
                done[source as usize] += [10, work][source as usize];
                let [of_a, of_b] = done;
                assert!(of_a.abs_diff(of_b) <= 10 + work, "{done:?}, work {work}");
            }
        }
    }

    /// The number of jobs of A among a thousand served ones, where A has a backlog and `others`
    /// new sources wait at any moment. Each of them has `jobs` jobs, of which all but the first
    /// are cancelled when that one has begun.
    fn served_beside_new_sources(others: u32, jobs: u32) -> usize {
        let mut sources = Sources::new();
        for _ in 0..1_000 {
            sources.push(A, 10);
        }
        let mut new = FIRST_OTHER..;
        let mut of_a = 0;
        for _ in 0..1_000 {
            while sources.queue.waiting <= others as usize {
                let source = new.next().unwrap();
                for _ in 0..jobs {
                    sources.push(source, 10);
                }
            }
            match sources.pop().unwrap() {
                A => of_a += 1,
                source => sources.cancel_all(source),
            }
            let kept = sources.queue.flows.len() - sources.queue.waiting;
            assert!(kept <= 2 * others as usize, "{kept} of {others}");
        }
        of_a
    }

    #[test]
    fn new_sources_leave_a_backlog_its_share() {
        for others in [1, 4, 30] {
            for jobs in [1, 2, 3] {
                let served = served_beside_new_sources(others, jobs);
                let share = 1_000 / (others as usize + 1);
                assert!(
                    served >= share / 2 && served <= share * 2,
                    "{served}, {share} would be even, {others} others with {jobs} jobs"
                );
            }
        }
    }

    #[test]
    fn sources_of_one_job_each_are_forgotten() {
        let mut sources = Sources::new();
        for source in FIRST_OTHER..FIRST_OTHER + 10_000 {
            sources.push(source, 1);
            if sources.queue.waiting > 30 {
                sources.pop();
            }
            assert!(sources.queue.flows.len() <= 62);
        }
        sources.drain();
        assert!(sources.queue.flows.is_empty());
        for source in FIRST_OTHER..FIRST_OTHER + 100 {
            sources.push(source, 1);
            sources.pop();
            assert!(sources.queue.flows.is_empty());
        }
    }

    #[test]
    fn a_source_is_not_charged_for_a_removed_job() {
        let mut sources = Sources::new();
        sources.push(A, 10);
        sources.push(A, 10);
        let removed = sources.push(B, 1_000);
        assert!(sources.queue.remove(B, removed).is_some());
        assert_eq!(sources.queue.flows.len(), 1);
        sources.push(B, 10);
        assert_eq!(sources.drain(), [A, B, A]);
    }

    /// A caller could otherwise cancel a job to be served ahead of the other sources.
    #[test]
    fn a_source_stays_charged_for_begun_jobs_when_its_last_one_is_removed() {
        let mut sources = Sources::new();
        for source in [A, B, B, B] {
            sources.push(source, 10);
        }
        assert_eq!(sources.pop(), Some(A));
        let removed = sources.push(A, 10);
        assert!(sources.queue.remove(A, removed).is_some());
        assert_eq!(sources.queue.backlog(Some(A)).jobs, 2);
        sources.push(A, 10);
        assert_eq!(sources.drain(), [B, B, A, B]);
    }

    proptest! {
        /// With jobs of equal work, a job is served after as many others as its backlog.
        #[test]
        fn the_backlog_is_the_position_in_the_order(
            steps in proptest::collection::vec((0..4_u8, 0..6_u32), 0..200),
            source in 0..6_u32,
        ) {
            let mut sources = Sources::new();
            let mut waiting = VecDeque::new();
            for (step, source) in steps {
                match step {
                    0 => drop(sources.pop()),
                    1 => {
                        if let Some((source, number)) = waiting.pop_front() {
                            sources.queue.remove(source, number);
                        }
                    }
                    _ => waiting.push_back((source, sources.push(source, 10))),
                }
            }
            let backlog = sources.queue.backlog(Some(source));
            sources.push(source, 10);
            let order = sources.drain();
            let position = order.iter().rposition(|&job| job == source).unwrap() as u64;
            prop_assert_eq!(backlog, Backlog {
                jobs: position,
                work: position * 10,
            });
        }
    }
}
