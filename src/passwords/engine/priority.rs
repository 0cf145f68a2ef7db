//! Hashing gives way to everything else.

use thread_priority::{
    Error, NormalThreadSchedulePolicy, ThreadPriority, ThreadSchedulePolicy,
    set_current_thread_priority, set_thread_priority_and_policy, thread_native_id,
};

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

/// Lowers this thread's priority, but leaves it a part of its core whatever else
/// goes on there.
pub(super) fn low() {
    report(match ThreadPriority::try_from(25_u8) {
        Ok(priority) => set_current_thread_priority(priority),
        Err(error) => Err(Error::Priority(error)),
    });
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
