//! Thread priorities: hashing gives way to other work, down to its guaranteed share of CPU
//! time.

use thread_priority::{
    Error, NormalThreadSchedulePolicy, ThreadPriority, ThreadSchedulePolicy,
    set_current_thread_priority, set_thread_priority_and_policy, thread_native_id,
};

/// The weights of the nice values from 0 to 19. Threads that compete for a core share it in
/// proportion to their weights (Linux, `sched_prio_to_weight`).
const WEIGHTS: [u32; 20] = [
    1024, 820, 655, 526, 423, 335, 272, 215, 172, 137, 110, 87, 70, 56, 45, 36, 29, 23, 18, 15,
];

/// The nice value of a background thread for one-shot jobs.
const LOW: u8 = 9;

/// Lets this thread run only while no other thread wants its core: a thread that wakes up
/// preempts it at once. (A thread of low priority would first run to the end of its time
/// slice, some milliseconds.)
pub(super) fn set_idle() {
    report(set_thread_priority_and_policy(
        thread_native_id(),
        ThreadPriority::Min,
        ThreadSchedulePolicy::Normal(NormalThreadSchedulePolicy::Idle),
    ));
}

/// Lowers this thread's priority to an eighth of its core against one thread of the default
/// priority.
pub(super) fn set_low() {
    report(set_nice(LOW));
}

/// Sets this thread's priority to the lowest one that keeps a share of its core, in percent,
/// against one busy thread of the default priority. An application that serves requests
/// usually has one such thread for each core.
pub(super) fn set_for_share(share: u8) {
    report(set_nice(nice_for(share)));
}

/// The highest nice value that keeps a share of a core, for shares up to 50 %.
fn nice_for(share: u8) -> u8 {
    let share = u32::from(share);
    let keeps = |weight: u32| weight * 100 >= share * (weight + WEIGHTS[0]);
    let nice = WEIGHTS.iter().rposition(|weight| keeps(*weight));
    nice.unwrap_or(0) as u8
}

fn set_nice(nice: u8) -> Result<(), Error> {
    // The library's scale is 0 (nice 19) to 99 (nice -20), rounded down. This is the middle
    // of the range that maps to the nice value.
    let priority = 99 * 37_u32.saturating_sub(2 * u32::from(nice)) / 78;
    let priority = u8::try_from(priority).unwrap_or_default();
    match ThreadPriority::try_from(priority) {
        Ok(priority) => set_current_thread_priority(priority),
        Err(error) => Err(Error::Priority(error)),
    }
}

/// Logs an error. Hashing continues at the default priority then.
fn report(lowered: Result<(), Error>) {
    if let Err(error) = lowered {
        tracing::warn!(
            cause = ?error,
            "cannot lower the priority of a hashing thread: other requests may be slow while \
             many hashes are computed"
        );
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, thread};

    use super::*;

    #[test]
    fn a_share_has_the_highest_nice_value_that_keeps_it() {
        for (share, nice) in [
            (50, 0),
            (45, 0),
            (44, 1),
            (25, 4),
            (24, 5),
            (12, 8),
            (11, 9),
            (1, 19),
        ] {
            assert_eq!(nice_for(share), nice, "{share} %");
        }
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_thread_gets_the_requested_nice_value() {
        for nice in 0..20 {
            let set = thread::spawn(move || {
                set_nice(nice).unwrap();
                let stat = fs::read_to_string("/proc/thread-self/stat").unwrap();
                let (_, fields) = stat.rsplit_once(") ").unwrap();
                fields.split(' ').nth(16).unwrap().parse::<u8>().unwrap()
            });
            assert_eq!(set.join().unwrap(), nice);
        }
    }
}
