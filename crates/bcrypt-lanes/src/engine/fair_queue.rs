//! The queue of a pool: classes share the work in proportion to their weights, the sources
//! within a class share it evenly, and the jobs of one source are served in order.
//!
//! This is start-time fair queueing on two levels. Each class has a start tag, which grows
//! with its begun work; the class with the lowest tag is next. An empty class continues at
//! the tag of the last served job or at its own tag, whichever is higher: it is owed nothing
//! for the time without jobs, and it stays charged for the jobs before. The sources within a
//! class have tags of the same kind (`class_queue.rs`).

mod class_queue;

use std::{num::NonZeroU16, time::Instant};

use self::class_queue::ClassQueue;
use super::{SourceKey, job::QueuedJob};

/// The time of the fair queue: work divided by weight. Wide enough never to overflow.
type VirtualTime = u128;

/// The waiting jobs of a pool.
pub(super) struct FairQueue<J, K> {
    classes: Vec<ClassQueue<J, K>>,
    /// The start tag of the last served job.
    served: VirtualTime,
    next_number: u64,
}

/// Identifies a queued job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct JobId<K> {
    class: usize,
    source: K,
    number: u64,
}

impl<K> JobId<K> {
    pub(super) fn class(&self) -> usize {
        self.class
    }
}

/// The jobs that begin before another one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Backlog {
    pub(super) jobs: u64,
    pub(super) work: u64,
}

impl<J, K: SourceKey> FairQueue<J, K> {
    /// One class for each weight.
    pub(super) fn new(weights: &[NonZeroU16]) -> Self {
        Self {
            classes: weights.iter().copied().map(ClassQueue::new).collect(),
            served: 0,
            next_number: 0,
        }
    }

    pub(super) fn len(&self) -> usize {
        let jobs = self.classes.iter().map(|class| class.total().jobs as usize);
        jobs.sum()
    }

    pub(super) fn push(&mut self, class: usize, source: K, job: QueuedJob<J>) -> JobId<K> {
        let number = self.next_number;
        self.next_number += 1;
        let served = self.served;
        let queue = &mut self.classes[class];
        if queue.is_empty() {
            queue.start = queue.start.max(served);
        }
        queue.push(source, number, job);
        JobId {
            class,
            source,
            number,
        }
    }

    /// Takes the next job to begin.
    pub(super) fn pop(&mut self) -> Option<QueuedJob<J>> {
        let classes = self.classes.iter_mut();
        let class = classes
            .filter(|class| !class.is_empty())
            .min_by_key(|class| class.start)?;
        let job = class.pop()?;
        self.served = class.start;
        class.start += class.virtual_time(job.work);
        Some(job)
    }

    /// Takes a job out of the queue before it begins.
    pub(super) fn remove(&mut self, id: JobId<K>) -> Option<QueuedJob<J>> {
        self.classes[id.class].remove(id.source, id.number)
    }

    /// Takes a job queued before `instant`, with its class.
    pub(super) fn pop_queued_before(&mut self, instant: Instant) -> Option<(usize, QueuedJob<J>)> {
        let mut classes = self.classes.iter_mut().enumerate();
        classes.find_map(|(class, queue)| {
            let (source, number) = queue.queued_before(instant)?;
            Some((class, queue.remove(source, number)?))
        })
    }

    /// The jobs that would begin before a new job of this class and source; `None` is a new
    /// source.
    pub(super) fn backlog(&self, class: usize, source: Option<K>) -> Backlog {
        let queue = &self.classes[class];
        let before = queue.backlog(source);
        let start = if queue.is_empty() {
            queue.start.max(self.served)
        } else {
            queue.start + queue.virtual_time(before.work)
        };
        self.with_other_classes(class, start, before)
    }

    /// The last job of each class, with the jobs that begin before it.
    pub(super) fn last_jobs(&self) -> impl Iterator<Item = (JobId<K>, &QueuedJob<J>, Backlog)> {
        let classes = self.classes.iter().enumerate();
        classes.filter_map(|(class, queue)| {
            let (source, number, last) = queue.last()?;
            let total = queue.total();
            let before = Backlog {
                jobs: total.jobs - 1,
                work: total.work - last.work,
            };
            let start = queue.start + queue.virtual_time(before.work);
            let backlog = self.with_other_classes(class, start, before);
            let id = JobId {
                class,
                source,
                number,
            };
            Some((id, last, backlog))
        })
    }

    /// Adds the jobs of the other classes that begin before a job with this start tag.
    fn with_other_classes(&self, own: usize, start: VirtualTime, before: Backlog) -> Backlog {
        let others = self.classes.iter().enumerate();
        others
            .filter(|(class, other)| *class != own && other.total().work > 0)
            .fold(before, |backlog, (_, other)| {
                let total = other.total();
                let work = total
                    .work
                    .min(other.work_in(start.saturating_sub(other.start)));
                let jobs = (total.jobs * work).div_ceil(total.work);
                Backlog {
                    jobs: backlog.jobs + jobs,
                    work: backlog.work + work,
                }
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLASS_B: usize = 0;
    const CLASS_A: usize = 1;
    const CLASS_D: usize = 2;
    const OWN: u32 = 0;

    fn queue() -> FairQueue<u64, u32> {
        FairQueue::new(&[NonZeroU16::MIN; 3])
    }

    fn job(job: u64, work: u64) -> QueuedJob<u64> {
        QueuedJob {
            job,
            work,
            since: Instant::now(),
        }
    }

    fn drain(queue: &mut FairQueue<u64, u32>) -> Vec<u64> {
        std::iter::from_fn(|| queue.pop())
            .map(|queued| queued.job)
            .collect()
    }

    #[test]
    fn one_class_is_served_in_order() {
        let mut queue = queue();
        for number in 0..5 {
            queue.push(CLASS_B, OWN, job(number, 10));
        }
        assert_eq!(queue.len(), 5);
        assert_eq!(drain(&mut queue), [0, 1, 2, 3, 4]);
    }

    #[test]
    fn classes_share_by_work() {
        let mut queue = queue();
        for number in 0..6 {
            queue.push(CLASS_B, OWN, job(number, 10));
        }
        for number in 100..103 {
            queue.push(CLASS_A, OWN, job(number, 20));
        }
        // Two jobs of class B for each job of class A, which has twice the work.
        let order = drain(&mut queue);
        let position = |job| order.iter().position(|&other| other == job).unwrap();
        assert!(
            position(100) <= 2 && position(101) <= 5 && position(102) <= 8,
            "{order:?}"
        );
        assert!(position(5) > position(102), "{order:?}");
    }

    #[test]
    fn sources_share_within_a_class() {
        let (flood, other) = (1, 2);
        let mut queue = queue();
        for number in 0..20 {
            queue.push(CLASS_B, flood, job(number, 10));
        }
        for _ in 0..5 {
            queue.pop();
        }
        let backlog =
            |queue: &FairQueue<u64, u32>, source| queue.backlog(CLASS_B, Some(source)).jobs;
        assert_eq!(backlog(&queue, flood), 15);
        assert!(backlog(&queue, other) <= 1, "it waits behind the flood");
        assert_eq!(queue.backlog(CLASS_B, None).jobs, backlog(&queue, other));
        for number in 100..103 {
            queue.push(CLASS_B, other, job(number, 10));
        }
        assert_eq!(
            backlog(&queue, other),
            6,
            "its own and as many of the flood"
        );
        let (last, ..) = queue.last_jobs().next().unwrap();
        assert_eq!(
            last.source, flood,
            "the source with most jobs has the last one"
        );
        let order = drain(&mut queue);
        let position = |job| order.iter().position(|&other| other == job).unwrap();
        assert!(
            position(100) <= 1 && position(101) <= 3 && position(102) <= 5,
            "{order:?}"
        );
        assert_eq!(position(19), 17);
    }

    /// One job each, as if a caller opened a connection for each job.
    #[test]
    fn many_sources_are_served_in_order() {
        let mut queue = queue();
        for number in 0..10 {
            let backlog = queue.backlog(CLASS_B, None);
            assert_eq!(
                backlog,
                Backlog {
                    jobs: number,
                    work: number * 10
                }
            );
            queue.push(CLASS_B, number as u32, job(number, 10));
        }
        let lasts: Vec<_> = queue
            .last_jobs()
            .map(|(_, last, backlog)| (last.job, backlog.jobs))
            .collect();
        assert_eq!(lasts, [(9, 9)]);
        assert_eq!(drain(&mut queue), (0..10).collect::<Vec<_>>());
    }

    #[test]
    fn a_late_class_is_neither_owed_nor_behind() {
        let mut queue = queue();
        for number in 0..20 {
            queue.push(CLASS_B, OWN, job(number, 10));
        }
        for _ in 0..10 {
            queue.pop();
        }
        for number in 100..105 {
            queue.push(CLASS_D, OWN, job(number, 10));
        }
        let order = drain(&mut queue);
        let first = order.iter().position(|&job| job == 100).unwrap();
        let last = order.iter().position(|&job| job == 104).unwrap();
        assert!(first <= 1, "{order:?}");
        assert!((8..=10).contains(&last), "{order:?}");
    }

    #[test]
    fn the_backlog_is_the_jobs_that_begin_before() {
        let mut queue = queue();
        for number in 0..10 {
            queue.push(CLASS_B, OWN, job(number, 10));
        }
        assert_eq!(
            queue.backlog(CLASS_B, Some(OWN)),
            Backlog {
                jobs: 10,
                work: 100
            }
        );
        assert_eq!(queue.backlog(CLASS_A, Some(OWN)), Backlog::default());
        for number in 100..104 {
            queue.push(CLASS_A, OWN, job(number, 10));
        }
        assert_eq!(
            queue.backlog(CLASS_A, Some(OWN)),
            Backlog { jobs: 8, work: 80 }
        );
        assert_eq!(
            queue.backlog(CLASS_B, Some(OWN)),
            Backlog {
                jobs: 14,
                work: 140
            }
        );
        let lasts: Vec<_> = queue
            .last_jobs()
            .map(|(_, last, backlog)| (last.job, backlog.jobs))
            .collect();
        assert!(
            lasts.contains(&(9, 13)) && lasts.contains(&(103, 6)),
            "{lasts:?}"
        );
    }

    #[test]
    fn a_removed_job_is_not_counted() {
        let mut queue = queue();
        let first = queue.push(CLASS_B, OWN, job(1, 10));
        let second = queue.push(CLASS_B, OWN, job(2, 10));
        assert_eq!(queue.remove(first).map(|queued| queued.job), Some(1));
        assert!(queue.remove(first).is_none());
        assert_eq!(
            queue.backlog(CLASS_B, Some(OWN)),
            Backlog { jobs: 1, work: 10 }
        );
        assert!(queue.pop().is_some());
        assert!(queue.remove(second).is_none());
        assert_eq!(queue.len(), 0);
    }

    #[test]
    fn an_old_job_is_found() {
        let mut queue = queue();
        queue.push(CLASS_B, OWN, job(1, 10));
        let between = Instant::now();
        assert_eq!(
            queue
                .pop_queued_before(between)
                .map(|(_, queued)| queued.job),
            Some(1)
        );
        queue.push(CLASS_B, OWN, job(2, 10));
        assert!(queue.pop_queued_before(between).is_none());
    }

    #[test]
    fn a_class_gets_work_in_proportion_to_its_weight() {
        let weights = [1, 3].map(|weight| NonZeroU16::new(weight).unwrap());
        let mut queue = FairQueue::new(&weights);
        for number in 0..40 {
            queue.push(CLASS_B, OWN, job(number, 10));
            queue.push(CLASS_A, OWN, job(100 + number, 10));
        }
        let backlogs: Vec<_> = queue.last_jobs().map(|(_, _, backlog)| backlog).collect();
        let order = drain(&mut queue);
        for first in [8, 20, 40] {
            let light = order[..first].iter().filter(|&&job| job < 100).count();
            assert!(light.abs_diff(first / 4) <= 1, "{light} of {first}");
        }
        // The heavy class is through with its 40 when the light one has had 13.
        for (class, last) in [39, 139].into_iter().enumerate() {
            let position = order.iter().position(|&job| job == last).unwrap();
            assert!(position.abs_diff(backlogs[class].jobs as usize) <= 1);
        }
    }

    #[test]
    fn virtual_time_does_not_overflow() {
        let mut queue = queue();
        for _ in 0..4 {
            queue.push(CLASS_B, OWN, job(0, u64::MAX / 4));
            queue.push(CLASS_A, OWN, job(1, 1));
            queue.backlog(CLASS_D, None);
            assert_eq!(queue.last_jobs().count(), 2);
            drain(&mut queue);
        }
    }
}
