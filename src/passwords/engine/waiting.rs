//! The queue: an even share of the work for each purpose that waits; within a purpose,
//! for each source; and first come, first served among those of one purpose and source.
//!
//! This is start-time fair queueing, in two levels. Each purpose has a tag, the work that
//! has been begun for it; the purpose with the lowest tag is next. One that comes back
//! from having nothing to do starts at the tag that is being served: what it did not ask
//! for is not owed to it. The same goes for the sources within a purpose.

use std::{
    collections::{BTreeMap, HashMap},
    time::Instant,
};

use super::job::Pending;
use crate::{deadline::Source, passwords::Purpose};

/// Those that wait.
pub(super) struct Waiting<J> {
    queues: [Queue<J>; Purpose::ALL.len()],
    /// The tag that was served last.
    tag: u64,
    next_number: u64,
}

struct Queue<J> {
    purpose: Purpose,
    /// Those that have jobs in it.
    flows: HashMap<Source, Flow<J>>,
    /// The jobs and the work of all of them.
    jobs: u64,
    work: u64,
    tag: u64,
    /// The tag of the flow that was served last.
    flow_tag: u64,
}

/// What one source has in a queue; never nothing.
struct Flow<J> {
    /// By number: oldest first.
    jobs: BTreeMap<u64, Pending<J>>,
    work: u64,
    tag: u64,
}

/// Where a job stands in the queue, until it begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Number {
    purpose: Purpose,
    source: Source,
    number: u64,
}

impl Number {
    pub(super) fn purpose(self) -> Purpose {
        self.purpose
    }
}

/// What begins before a job does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Ahead {
    pub(super) jobs: u64,
    pub(super) work: u64,
}

impl<J> Waiting<J> {
    pub(super) fn new() -> Self {
        Self {
            queues: Purpose::ALL.map(|purpose| Queue {
                purpose,
                flows: HashMap::new(),
                jobs: 0,
                work: 0,
                tag: 0,
                flow_tag: 0,
            }),
            tag: 0,
            next_number: 0,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.queues.iter().map(|queue| queue.jobs as usize).sum()
    }

    pub(super) fn push(&mut self, purpose: Purpose, source: Source, pending: Pending<J>) -> Number {
        let number = self.next_number;
        self.next_number += 1;
        let tag = self.tag;
        let queue = self.queue_mut(purpose);
        if queue.jobs == 0 {
            queue.tag = queue.tag.max(tag);
        }
        queue.push(source, number, pending);
        Number {
            purpose,
            source,
            number,
        }
    }

    /// The next to begin.
    pub(super) fn pop(&mut self) -> Option<Pending<J>> {
        let queues = self.queues.iter_mut();
        let queue = queues
            .filter(|queue| queue.jobs > 0)
            .min_by_key(|queue| queue.tag)?;
        let pending = queue.pop()?;
        self.tag = queue.tag;
        queue.tag += pending.work;
        Some(pending)
    }

    /// Takes one out that has not begun.
    pub(super) fn remove(&mut self, number: Number) -> Option<Pending<J>> {
        self.queue_mut(number.purpose)
            .remove(number.source, number.number)
    }

    /// Takes one out that has waited since before that.
    pub(super) fn pop_since_before(&mut self, instant: Instant) -> Option<(Purpose, Pending<J>)> {
        let late = self.queues.iter().find_map(|queue| {
            queue.flows.iter().find_map(|(source, flow)| {
                let (&number, oldest) = flow.jobs.first_key_value()?;
                (oldest.since < instant).then_some(Number {
                    purpose: queue.purpose,
                    source: *source,
                    number,
                })
            })
        })?;
        Some((late.purpose, self.remove(late)?))
    }

    /// What would begin before one more of that purpose and source; `None`: of a source
    /// that has none.
    pub(super) fn ahead_of_another(&self, purpose: Purpose, source: Option<Source>) -> Ahead {
        let queue = self.queue(purpose);
        let before = queue.ahead_of_another(source);
        let tag = if queue.jobs == 0 {
            queue.tag.max(self.tag)
        } else {
            queue.tag + before.work
        };
        self.ahead(queue, tag, before)
    }

    /// The last of each purpose that waits, and what begins before it.
    pub(super) fn last_ones(&self) -> impl Iterator<Item = (Number, &Pending<J>, Ahead)> {
        self.queues.iter().filter_map(|queue| {
            let (number, last) = queue.last()?;
            let before = Ahead {
                jobs: queue.jobs - 1,
                work: queue.work - last.work,
            };
            let ahead = self.ahead(queue, queue.tag + before.work, before);
            Some((number, last, ahead))
        })
    }

    /// What begins before a job of `own` queue with this tag, of that queue and of
    /// the others, up to the same tag.
    fn ahead(&self, own: &Queue<J>, tag: u64, before: Ahead) -> Ahead {
        let others = self.queues.iter();
        others
            .filter(|other| other.purpose != own.purpose && other.work > 0)
            .fold(before, |ahead, other| {
                let work = other.work.min(tag.saturating_sub(other.tag));
                let jobs = (other.jobs * work).div_ceil(other.work);
                Ahead {
                    jobs: ahead.jobs + jobs,
                    work: ahead.work + work,
                }
            })
    }

    fn queue(&self, purpose: Purpose) -> &Queue<J> {
        &self.queues[purpose as usize]
    }

    fn queue_mut(&mut self, purpose: Purpose) -> &mut Queue<J> {
        &mut self.queues[purpose as usize]
    }
}

impl<J> Queue<J> {
    fn push(&mut self, source: Source, number: u64, pending: Pending<J>) {
        self.jobs += 1;
        self.work += pending.work;
        let flow = self.flows.entry(source).or_insert_with(|| Flow {
            jobs: BTreeMap::new(),
            work: 0,
            tag: self.flow_tag,
        });
        flow.work += pending.work;
        flow.jobs.insert(number, pending);
    }

    fn pop(&mut self) -> Option<Pending<J>> {
        // Of equal ones, the one that has waited longest.
        let next = |(source, flow): (&Source, &Flow<J>)| {
            let (number, _) = flow.jobs.first_key_value()?;
            Some((flow.tag, *number, *source))
        };
        let flows = self.flows.iter().filter_map(next);
        let (tag, number, source) = flows.min_by_key(|(tag, number, _)| (*tag, *number))?;
        let pending = self.remove(source, number)?;
        self.flow_tag = tag;
        if let Some(flow) = self.flows.get_mut(&source) {
            flow.tag += pending.work;
        }
        Some(pending)
    }

    fn remove(&mut self, source: Source, number: u64) -> Option<Pending<J>> {
        let flow = self.flows.get_mut(&source)?;
        let pending = flow.jobs.remove(&number)?;
        flow.work -= pending.work;
        if flow.jobs.is_empty() {
            self.flows.remove(&source);
        }
        self.jobs -= 1;
        self.work -= pending.work;
        Some(pending)
    }

    /// What of this queue would begin before one more of a source.
    fn ahead_of_another(&self, source: Option<Source>) -> Ahead {
        let own = source.and_then(|source| self.flows.get(&source));
        let (tag, before) = match own {
            Some(own) => (
                own.tag + own.work,
                Ahead {
                    jobs: own.jobs.len() as u64,
                    work: own.work,
                },
            ),
            None => (self.flow_tag, Ahead::default()),
        };
        let others = self.flows.iter();
        others
            .filter(|(other, flow)| Some(**other) != source && flow.tag <= tag)
            .fold(before, |ahead, (_, other)| {
                let jobs = other.jobs.len() as u64;
                let mean = (other.work / jobs).max(1);
                // One more than fit before the tag: it is the one that starts there.
                let begun = jobs.min((tag - other.tag) / mean + 1);
                Ahead {
                    jobs: ahead.jobs + begun,
                    work: ahead.work + begun * mean,
                }
            })
    }

    /// The one that begins last.
    fn last(&self) -> Option<(Number, &Pending<J>)> {
        let lasts = self.flows.iter().filter_map(|(source, flow)| {
            let (&number, last) = flow.jobs.last_key_value()?;
            let tag = flow.tag + flow.work - last.work;
            let number = Number {
                purpose: self.purpose,
                source: *source,
                number,
            };
            Some((tag, number, last))
        });
        let (_, number, last) = lasts.max_by_key(|(tag, number, _)| (*tag, number.number))?;
        Some((number, last))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pending(job: u64, work: u64) -> Pending<u64> {
        Pending {
            job,
            work,
            since: Instant::now(),
        }
    }

    fn drain(waiting: &mut Waiting<u64>) -> Vec<u64> {
        std::iter::from_fn(|| waiting.pop())
            .map(|pending| pending.job)
            .collect()
    }

    #[test]
    fn one_purpose_is_served_in_order() {
        let mut waiting = Waiting::new();
        for job in 0..5 {
            waiting.push(Purpose::Login, Source::Own, pending(job, 10));
        }
        assert_eq!(waiting.len(), 5);
        assert_eq!(drain(&mut waiting), [0, 1, 2, 3, 4]);
    }

    #[test]
    fn purposes_take_turns_by_work() {
        let mut waiting = Waiting::new();
        for job in 0..6 {
            waiting.push(Purpose::Login, Source::Own, pending(job, 10));
        }
        for job in 100..103 {
            waiting.push(Purpose::Registration, Source::Own, pending(job, 20));
        }
        // Two logins for each registration, which is twice the work.
        let order = drain(&mut waiting);
        let place = |job| order.iter().position(|&other| other == job).unwrap();
        assert!(
            place(100) <= 2 && place(101) <= 5 && place(102) <= 8,
            "{order:?}"
        );
        assert!(place(5) > place(102), "{order:?}");
    }

    #[test]
    fn sources_take_turns_within_a_purpose() {
        let (flood, other) = (Source::Connection(1), Source::Connection(2));
        let mut waiting = Waiting::new();
        for job in 0..20 {
            waiting.push(Purpose::Login, flood, pending(job, 10));
        }
        for _ in 0..5 {
            waiting.pop();
        }
        let ahead = |waiting: &Waiting<u64>, source| {
            waiting.ahead_of_another(Purpose::Login, Some(source)).jobs
        };
        assert_eq!(ahead(&waiting, flood), 15);
        assert!(ahead(&waiting, other) <= 1, "it waits behind the flood");
        assert_eq!(
            waiting.ahead_of_another(Purpose::Login, None).jobs,
            ahead(&waiting, other)
        );
        for job in 100..103 {
            waiting.push(Purpose::Login, other, pending(job, 10));
        }
        assert_eq!(
            ahead(&waiting, other),
            6,
            "its own and as many of the flood"
        );
        let (last, ..) = waiting.last_ones().next().unwrap();
        assert_eq!(last.source, flood, "whoever has most waits longest");
        let order = drain(&mut waiting);
        let place = |job| order.iter().position(|&other| other == job).unwrap();
        assert!(
            place(100) <= 1 && place(101) <= 3 && place(102) <= 5,
            "{order:?}"
        );
        assert_eq!(place(19), 17);
    }

    /// Each of them has one job, as if a caller opened a connection for each.
    #[test]
    fn many_sources_are_served_in_order() {
        let mut waiting = Waiting::new();
        for job in 0..10 {
            let ahead = waiting.ahead_of_another(Purpose::Login, None);
            assert_eq!(
                ahead,
                Ahead {
                    jobs: job,
                    work: job * 10
                }
            );
            waiting.push(
                Purpose::Login,
                Source::Connection(job as usize),
                pending(job, 10),
            );
        }
        let lasts: Vec<_> = waiting
            .last_ones()
            .map(|(_, last, ahead)| (last.job, ahead.jobs))
            .collect();
        assert_eq!(lasts, [(9, 9)]);
        assert_eq!(drain(&mut waiting), (0..10).collect::<Vec<_>>());
    }

    #[test]
    fn who_comes_late_is_neither_owed_nor_behind() {
        let mut waiting = Waiting::new();
        for job in 0..20 {
            waiting.push(Purpose::Login, Source::Own, pending(job, 10));
        }
        for _ in 0..10 {
            waiting.pop();
        }
        for job in 100..105 {
            waiting.push(Purpose::PasswordReset, Source::Own, pending(job, 10));
        }
        let order = drain(&mut waiting);
        let first = order.iter().position(|&job| job == 100).unwrap();
        let last = order.iter().position(|&job| job == 104).unwrap();
        assert!(first <= 1, "{order:?}");
        assert!((8..=10).contains(&last), "{order:?}");
    }

    #[test]
    fn what_is_ahead_is_what_begins_before() {
        let mut waiting = Waiting::new();
        for job in 0..10 {
            waiting.push(Purpose::Login, Source::Own, pending(job, 10));
        }
        assert_eq!(
            waiting.ahead_of_another(Purpose::Login, Some(Source::Own)),
            Ahead {
                jobs: 10,
                work: 100
            }
        );
        assert_eq!(
            waiting.ahead_of_another(Purpose::Registration, Some(Source::Own)),
            Ahead::default()
        );
        for job in 100..104 {
            waiting.push(Purpose::Registration, Source::Own, pending(job, 10));
        }
        assert_eq!(
            waiting.ahead_of_another(Purpose::Registration, Some(Source::Own)),
            Ahead { jobs: 8, work: 80 }
        );
        assert_eq!(
            waiting.ahead_of_another(Purpose::Login, Some(Source::Own)),
            Ahead {
                jobs: 14,
                work: 140
            }
        );
        let lasts: Vec<_> = waiting
            .last_ones()
            .map(|(_, last, ahead)| (last.job, ahead.jobs))
            .collect();
        assert!(
            lasts.contains(&(9, 13)) && lasts.contains(&(103, 6)),
            "{lasts:?}"
        );
    }

    #[test]
    fn who_leaves_is_not_counted() {
        let mut waiting = Waiting::new();
        let first = waiting.push(Purpose::Login, Source::Own, pending(1, 10));
        let second = waiting.push(Purpose::Login, Source::Own, pending(2, 10));
        assert_eq!(waiting.remove(first).map(|pending| pending.job), Some(1));
        assert!(waiting.remove(first).is_none());
        assert_eq!(
            waiting.ahead_of_another(Purpose::Login, Some(Source::Own)),
            Ahead { jobs: 1, work: 10 }
        );
        assert!(waiting.pop().is_some());
        assert!(waiting.remove(second).is_none());
        assert_eq!(waiting.len(), 0);
    }

    #[test]
    fn who_waited_too_long_is_found() {
        let mut waiting = Waiting::new();
        waiting.push(Purpose::Login, Source::Own, pending(1, 10));
        let between = Instant::now();
        assert_eq!(
            waiting
                .pop_since_before(between)
                .map(|(_, pending)| pending.job),
            Some(1)
        );
        waiting.push(Purpose::Login, Source::Own, pending(2, 10));
        assert!(waiting.pop_since_before(between).is_none());
    }
}
