//! The queue: first come, first served among those of one purpose, and an even
//! share of the work for each purpose that waits.
//!
//! This is start-time fair queueing. Each purpose has a tag, the work that has been
//! begun for it; the purpose with the lowest tag is next. One that comes back from
//! having nothing to do starts at the tag that is being served: what it did not ask
//! for is not owed to it.

use std::{collections::BTreeMap, time::Instant};

use super::job::Pending;
use crate::passwords::Purpose;

/// Those that wait.
pub(super) struct Waiting<J> {
    queues: [Queue<J>; Purpose::ALL.len()],
    /// The tag that was served last.
    tag: u64,
    next_number: u64,
}

struct Queue<J> {
    purpose: Purpose,
    /// By number: oldest first.
    jobs: BTreeMap<u64, Pending<J>>,
    /// The work of all of them.
    work: u64,
    tag: u64,
}

/// Where a job stands in the queue, until it begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Number {
    purpose: Purpose,
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
                jobs: BTreeMap::new(),
                work: 0,
                tag: 0,
            }),
            tag: 0,
            next_number: 0,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.queues.iter().map(|queue| queue.jobs.len()).sum()
    }

    pub(super) fn push(&mut self, purpose: Purpose, pending: Pending<J>) -> Number {
        let number = self.next_number;
        self.next_number += 1;
        let tag = self.tag;
        let queue = self.queue_mut(purpose);
        if queue.jobs.is_empty() {
            queue.tag = queue.tag.max(tag);
        }
        queue.work += pending.work;
        queue.jobs.insert(number, pending);
        Number { purpose, number }
    }

    /// The next to begin.
    pub(super) fn pop(&mut self) -> Option<Pending<J>> {
        let queues = self.queues.iter_mut();
        let queue = queues
            .filter(|queue| !queue.jobs.is_empty())
            .min_by_key(|queue| queue.tag)?;
        let (_, pending) = queue.jobs.pop_first()?;
        queue.work -= pending.work;
        self.tag = queue.tag;
        queue.tag += pending.work;
        Some(pending)
    }

    /// Takes one out that has not begun.
    pub(super) fn remove(&mut self, number: Number) -> Option<Pending<J>> {
        let queue = self.queue_mut(number.purpose);
        let pending = queue.jobs.remove(&number.number)?;
        queue.work -= pending.work;
        Some(pending)
    }

    /// Takes one out that has waited since before that.
    pub(super) fn pop_since_before(&mut self, instant: Instant) -> Option<(Purpose, Pending<J>)> {
        let late = self.queues.iter().find_map(|queue| {
            let (&number, oldest) = queue.jobs.first_key_value()?;
            let purpose = queue.purpose;
            (oldest.since < instant).then_some(Number { purpose, number })
        })?;
        Some((late.purpose, self.remove(late)?))
    }

    /// What would begin before one more of that purpose.
    pub(super) fn ahead_of_another(&self, purpose: Purpose) -> Ahead {
        let queue = self.queue(purpose);
        let tag = if queue.jobs.is_empty() {
            queue.tag.max(self.tag)
        } else {
            queue.tag + queue.work
        };
        self.ahead(
            queue,
            tag,
            Ahead {
                jobs: queue.jobs.len() as u64,
                work: queue.work,
            },
        )
    }

    /// The last of each purpose that waits, and what begins before it.
    pub(super) fn last_ones(&self) -> impl Iterator<Item = (Number, &Pending<J>, Ahead)> {
        self.queues.iter().filter_map(|queue| {
            let (&number, last) = queue.jobs.last_key_value()?;
            let before = Ahead {
                jobs: queue.jobs.len() as u64 - 1,
                work: queue.work - last.work,
            };
            let ahead = self.ahead(queue, queue.tag + before.work, before);
            let purpose = queue.purpose;
            Some((Number { purpose, number }, last, ahead))
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
                let jobs = (other.jobs.len() as u64 * work).div_ceil(other.work);
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
            waiting.push(Purpose::Login, pending(job, 10));
        }
        assert_eq!(waiting.len(), 5);
        assert_eq!(drain(&mut waiting), [0, 1, 2, 3, 4]);
    }

    #[test]
    fn purposes_take_turns_by_work() {
        let mut waiting = Waiting::new();
        for job in 0..6 {
            waiting.push(Purpose::Login, pending(job, 10));
        }
        for job in 100..103 {
            waiting.push(Purpose::Registration, pending(job, 20));
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
    fn who_comes_late_is_neither_owed_nor_behind() {
        let mut waiting = Waiting::new();
        for job in 0..20 {
            waiting.push(Purpose::Login, pending(job, 10));
        }
        for _ in 0..10 {
            waiting.pop();
        }
        for job in 100..105 {
            waiting.push(Purpose::PasswordReset, pending(job, 10));
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
            waiting.push(Purpose::Login, pending(job, 10));
        }
        assert_eq!(
            waiting.ahead_of_another(Purpose::Login),
            Ahead {
                jobs: 10,
                work: 100
            }
        );
        assert_eq!(
            waiting.ahead_of_another(Purpose::Registration),
            Ahead::default()
        );
        for job in 100..104 {
            waiting.push(Purpose::Registration, pending(job, 10));
        }
        assert_eq!(
            waiting.ahead_of_another(Purpose::Registration),
            Ahead { jobs: 8, work: 80 }
        );
        assert_eq!(
            waiting.ahead_of_another(Purpose::Login),
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
        let first = waiting.push(Purpose::Login, pending(1, 10));
        let second = waiting.push(Purpose::Login, pending(2, 10));
        assert_eq!(waiting.remove(first).map(|pending| pending.job), Some(1));
        assert!(waiting.remove(first).is_none());
        assert_eq!(
            waiting.ahead_of_another(Purpose::Login),
            Ahead { jobs: 1, work: 10 }
        );
        assert!(waiting.pop().is_some());
        assert!(waiting.remove(second).is_none());
        assert_eq!(waiting.len(), 0);
    }

    #[test]
    fn who_waited_too_long_is_found() {
        let mut waiting = Waiting::new();
        waiting.push(Purpose::Login, pending(1, 10));
        let between = Instant::now();
        assert_eq!(
            waiting
                .pop_since_before(between)
                .map(|(_, pending)| pending.job),
            Some(1)
        );
        waiting.push(Purpose::Login, pending(2, 10));
        assert!(waiting.pop_since_before(between).is_none());
    }
}
