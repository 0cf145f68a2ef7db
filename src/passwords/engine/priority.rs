//! Hashing gives way to everything else, up to the share of the cores that it keeps.

use thread_priority::{
    Error, NormalThreadSchedulePolicy, ThreadPriority, ThreadSchedulePolicy,
    set_current_thread_priority, set_thread_priority_and_policy, thread_native_id,
};

/// The weight of each nice value from 0 up: of the threads that want one core, each gets
/// a part of it in proportion to its weight (Linux, `sched_prio_to_weight`).
const WEIGHTS: [u32; 20] = [
    1024, 820, 655, 526, 423, 335, 272, 215, 172, 137, 110, 87, 70, 56, 45, 36, 29, 23, 18, 15,
];

/// The nice value of a thread that computes at one go.
const LOW: u8 = 9;

/// Lets this thread run only where nothing else wants the core: whoever wakes takes
/// it over at once. (A low priority alone would let it go on to the end of its turn,
/// which is longer than a session check.)
pub(super) fn idle() {
    report(set_thread_priority_and_policy(
        thread_native_id(),
        ThreadPriority::Min,
        ThreadSchedulePolicy::Normal(NormalThreadSchedulePolicy::Idle),
    ));
}

/// Lowers this thread's priority, but leaves it an eighth of its core whatever else
/// goes on there.
pub(super) fn low() {
    report(set_nice(LOW));
}

/// Lowers this thread's priority as far as leaves it a share of its core, in percent,
/// against one thread of the usual priority that always wants it. There are as many of
/// those as there are cores: the threads that serve requests.
pub(super) fn keep_share(share: u8) {
    report(set_nice(nice_for(share)));
}

/// The highest nice value that leaves a share of a core, up to a half of it.
fn nice_for(share: u8) -> u8 {
    let share = u32::from(share);
    let leaves = |weight: u32| weight * 100 >= share * (weight + WEIGHTS[0]);
    let nice = WEIGHTS.iter().rposition(|weight| leaves(*weight));
    nice.unwrap_or(0) as u8
}

fn set_nice(nice: u8) -> Result<(), Error> {
    // The library counts from 0 (nice 19) to 99 (nice -20), and rounds down: this is the
    // middle of what it makes the nice value from.
    let priority = 99 * 37_u32.saturating_sub(2 * u32::from(nice)) / 78;
    let priority = u8::try_from(priority).unwrap_or_default();
    match ThreadPriority::try_from(priority) {
        Ok(priority) => set_current_thread_priority(priority),
        Err(error) => Err(Error::Priority(error)),
    }
}

/// Where the operating system does not let it, hashing goes on at the usual one.
fn report(lowered: Result<(), Error>) {
    if let Err(error) = lowered {
        tracing::warn!(
            cause = ?error,
            "hashing goes on at the priority of everything else: session checks may be slow \
             while many log in"
        );
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, thread};

    use super::*;

    #[test]
    fn a_share_has_the_highest_nice_value_that_leaves_it() {
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
    fn a_thread_gets_the_nice_value_that_is_meant() {
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
