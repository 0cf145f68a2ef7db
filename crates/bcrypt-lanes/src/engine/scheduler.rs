//! The state of a pool and its decisions: which jobs are admitted, begin, or are refused
//! later, and which jobs share the lanes of a core.

use std::{
    num::NonZeroU16,
    time::{Duration, Instant},
};

use super::{
    JobOptions, SourceKey,
    ewma::Ewma,
    fair_queue::{FairQueue, JobId},
    retry_schedule::RetrySchedule,
    wait_estimate::{WaitEstimate, times},
};

/// The constant settings of a pool.
#[derive(Clone, Copy, Debug)]
pub(super) struct PoolConfig {
    pub(super) threads: usize,
    /// The number of jobs that one thread computes at a time.
    pub(super) lanes: usize,
    /// The number of lanes that do not slow each other down. A running thread takes any job
    /// up to this number; beyond it, jobs are spread evenly over the threads.
    pub(super) cheap_lanes: usize,
    /// The base of both limits on the wait until a job begins: a job is admitted if its
    /// estimated wait is at most three quarters of this, and evicted if it exceeds twice this.
    pub(super) max_wait: Duration,
}

impl PoolConfig {
    /// The longest estimated wait of an admitted job. Lower than `max_wait`, since the
    /// machine may slow down.
    pub(super) fn max_admitted_wait(&self) -> Duration {
        self.max_wait - self.max_wait / 4
    }

    /// The longest wait of a job after its admission. Serving a caller late is better than
    /// refusing it late, so only a slowdown to less than two fifths of the estimated speed
    /// evicts a job. Its own deadline holds in any case.
    fn max_queued_wait(&self) -> Duration {
        self.max_wait * 2
    }
}

/// The work of one thread since its previous report.
#[derive(Clone, Copy, Debug)]
pub(super) struct Measurement {
    pub(super) elapsed: Duration,
    pub(super) units: u64,
    /// The number of lanes in use meanwhile.
    pub(super) lanes: usize,
}

/// The reason for refusing a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// The job would begin too late, for the pool's limit or for its deadline. Its wait will
    /// be short enough after this time.
    WaitTooLong(Duration),
    /// The job would end after its deadline even without a wait. Contains the wait until it
    /// would begin.
    DeadlineTooClose(Duration),
}

/// Everything that the pool's lock guards, apart from the queue of cancellations.
pub(super) struct Scheduler<J, K> {
    config: PoolConfig,
    pub(super) queue: FairQueue<J, K>,
    /// For each thread, the expected ends of its lanes in use.
    pub(super) threads: Vec<Vec<Instant>>,
    /// The number of threads that wait for a job.
    pub(super) asleep: usize,
    /// The number of those that have been notified and do not hold the lock yet.
    pub(super) woken: usize,
    /// The time of a unit of work, for each number of a thread's lanes in use.
    unit_times: Vec<Ewma>,
    /// One for each class.
    retry_schedules: Vec<RetrySchedule>,
    pub(super) is_closed: bool,
}

impl<J, K: SourceKey> Scheduler<J, K> {
    /// With guesses at the time of a unit of work, in a single lane and in all lanes.
    pub(super) fn new(
        config: PoolConfig,
        class_weights: &[NonZeroU16],
        one_lane: Duration,
        all_lanes: Duration,
    ) -> Self {
        let per_lane = all_lanes.saturating_sub(one_lane) / config.lanes as u32;
        let guess = |lanes: usize| Ewma::new(one_lane + per_lane * lanes as u32);
        Self {
            config,
            queue: FairQueue::new(class_weights),
            threads: vec![Vec::new(); config.threads],
            asleep: 0,
            woken: 0,
            unit_times: (0..=config.lanes).map(guess).collect(),
            retry_schedules: vec![RetrySchedule::default(); class_weights.len()],
            is_closed: false,
        }
    }

    pub(super) fn wait_estimate(&self, now: Instant) -> WaitEstimate {
        let in_use = self.threads.iter().flatten().copied();
        WaitEstimate::new(in_use, self.config.threads * self.config.lanes, now)
    }

    /// Whether one more job begins at once without slowing others down.
    pub(super) fn is_idle(&self) -> bool {
        let in_use: usize = self.threads.iter().map(Vec::len).sum();
        self.queue.len() + in_use < self.config.threads * self.config.cheap_lanes
    }

    /// Whether a job of this work would begin soon enough and end before its deadline.
    pub(super) fn admit(
        &mut self,
        estimate: &mut WaitEstimate,
        work: u64,
        options: JobOptions<K>,
        now: Instant,
    ) -> Result<(), Refusal> {
        let backlog = self.queue.backlog(options.class, Some(options.source));
        let wait = estimate.wait(backlog, self.full_unit_time());
        let lanes = if wait.is_zero() {
            self.fewest_lanes_in_use() + 1
        } else {
            self.config.lanes
        };
        let unit_time = &mut self.unit_times[lanes.min(self.config.lanes)];
        let time_left = options.time_left(now);
        let Some(spare) = time_left.checked_sub(times(unit_time.unit(), work)) else {
            if wait.is_zero() {
                unit_time.lower();
            }
            return Err(Refusal::DeadlineTooClose(wait));
        };
        let longest = spare.min(self.config.max_admitted_wait());
        match wait.checked_sub(longest) {
            Some(room_in) if !room_in.is_zero() => Err(Refusal::WaitTooLong(room_in)),
            _ => Ok(()),
        }
    }

    /// The wait of one more job of this class, from a new source.
    pub(super) fn wait_of_new_source(&self, estimate: &mut WaitEstimate, class: usize) -> Duration {
        estimate.wait(self.queue.backlog(class, None), self.full_unit_time())
    }

    pub(super) fn observe(&mut self, measurement: Measurement) {
        self.unit_times[measurement.lanes].observe(measurement.elapsed, measurement.units);
    }

    /// The time of a unit of work while every lane is in use.
    fn full_unit_time(&self) -> Duration {
        self.unit_times.last().map_or(Duration::ZERO, Ewma::unit)
    }

    fn fewest_lanes_in_use(&self) -> usize {
        self.threads.iter().map(Vec::len).min().unwrap_or(0)
    }

    /// Takes the jobs that a thread begins now from the queue.
    pub(super) fn begin(&mut self, thread: usize, now: Instant) -> Vec<J> {
        let mut begun = Vec::new();
        while self.may_begin(thread) {
            let Some(queued) = self.queue.pop() else {
                break;
            };
            let length = times(self.full_unit_time(), queued.work);
            self.threads[thread].push(now + length);
            begun.push(queued.job);
        }
        begun
    }

    /// Whether a thread has a lane for one more job, and no other thread would compute it
    /// faster.
    fn may_begin(&self, thread: usize) -> bool {
        let in_use = self.threads[thread].len();
        in_use < self.config.lanes
            && (in_use < self.config.cheap_lanes || in_use <= self.fewest_lanes_in_use())
    }

    /// Takes the jobs that will not begin in time after all, since the machine has slowed
    /// down or other classes claim their shares. First the last jobs of each class, which
    /// have waited least, then all jobs that have waited too long. Returns them with their
    /// retry times.
    pub(super) fn evict_late(&mut self, now: Instant) -> Vec<(J, Duration)> {
        let mut evicted = Vec::new();
        if self.queue.len() == 0 {
            return evicted;
        }
        let mut estimate = self.wait_estimate(now);
        while let Some((id, room_in)) = self.late_job(&mut estimate, now) {
            if let Some(queued) = self.queue.remove(id) {
                let retry_after =
                    self.retry_after(&estimate, now, room_in, queued.work, id.class());
                evicted.push((queued.job, retry_after));
            }
        }
        let earliest = now.checked_sub(self.config.max_queued_wait());
        while let Some((class, queued)) =
            earliest.and_then(|earliest| self.queue.pop_queued_before(earliest))
        {
            let wait = self.wait_of_new_source(&mut estimate, class);
            let room_in = wait.saturating_sub(self.config.max_admitted_wait());
            let retry_after = self.retry_after(&estimate, now, room_in, queued.work, class);
            evicted.push((queued.job, retry_after));
        }
        evicted
    }

    /// The last job of a class whose wait would be too long, and the time until there is
    /// room for it.
    fn late_job(&self, estimate: &mut WaitEstimate, now: Instant) -> Option<(JobId<K>, Duration)> {
        self.queue.last_jobs().find_map(|(id, last, backlog)| {
            let waited = now.saturating_duration_since(last.since);
            let wait = waited + estimate.wait(backlog, self.full_unit_time());
            let is_late = backlog.jobs > 0 && wait > self.config.max_queued_wait();
            is_late.then(|| (id, wait.saturating_sub(self.config.max_admitted_wait())))
        })
    }

    /// The retry time of a refused job.
    pub(super) fn refuse(
        &mut self,
        estimate: &WaitEstimate,
        now: Instant,
        refusal: Refusal,
        work: u64,
        class: usize,
    ) -> Duration {
        match refusal {
            Refusal::WaitTooLong(room_in) => self.retry_after(estimate, now, room_in, work, class),
            // Reserves no time: a retry with the same deadline would be refused again.
            Refusal::DeadlineTooClose(wait) => wait + times(self.full_unit_time(), work),
        }
    }

    /// The retry time where there is room in `room_in`. Longer by the length of one job,
    /// since lanes that began together are free together.
    fn retry_after(
        &mut self,
        estimate: &WaitEstimate,
        now: Instant,
        room_in: Duration,
        work: u64,
        class: usize,
    ) -> Duration {
        let length = times(self.full_unit_time(), work);
        let interval = estimate.interval(length);
        self.retry_schedules[class].reserve(now, room_in + length, interval)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::job::QueuedJob;

    const MS: Duration = Duration::from_millis(1);

    const CONFIG: PoolConfig = PoolConfig {
        threads: 1,
        lanes: 1,
        cheap_lanes: 1,
        max_wait: Duration::from_secs(2),
    };

    fn set_unit_time(scheduler: &mut Scheduler<(), ()>, unit: Duration) {
        for _ in 0..1_000 {
            scheduler.observe(Measurement {
                elapsed: MS * 20,
                units: MS.as_nanos() as u64 * 20 / unit.as_nanos() as u64,
                lanes: 1,
            });
        }
    }

    /// A scheduler with all the jobs that it admits at one moment, of a hundred units each.
    fn filled(unit: Duration) -> (Scheduler<(), ()>, Instant) {
        let now = Instant::now();
        let options = JobOptions::new((), now + Duration::from_secs(60));
        let mut scheduler = Scheduler::new(CONFIG, &[NonZeroU16::MIN], unit, unit);
        set_unit_time(&mut scheduler, unit);
        loop {
            let mut estimate = scheduler.wait_estimate(now);
            if scheduler.admit(&mut estimate, 100, options, now).is_err() {
                return (scheduler, now);
            }
            let queued = QueuedJob {
                job: (),
                work: 100,
                since: now,
            };
            scheduler.queue.push(0, (), queued);
            if scheduler.threads[0].is_empty() {
                assert_eq!(scheduler.begin(0, now).len(), 1);
            }
        }
    }

    #[test]
    fn an_admitted_job_is_served_at_half_the_speed() {
        let unit = Duration::from_micros(200);
        let (mut scheduler, now) = filled(unit);
        let waiting = scheduler.queue.len();
        assert!(waiting > 50, "{waiting}");
        set_unit_time(&mut scheduler, unit * 2);
        assert!(scheduler.evict_late(now).is_empty());
        set_unit_time(&mut scheduler, unit * 5);
        let evicted = scheduler.evict_late(now).len();
        assert!(evicted > 0 && evicted < waiting, "{evicted} of {waiting}");
    }
}
