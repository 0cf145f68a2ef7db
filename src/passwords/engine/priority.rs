//! Hashing gives way to everything else.

use thread_priority::{ThreadPriority, set_current_thread_priority};

/// Lowers this thread's priority as far as it goes. Where the operating system does
/// not let it, hashing goes on at the usual one.
pub(super) fn lower() {
    if let Err(error) = set_current_thread_priority(ThreadPriority::Min) {
        tracing::warn!(
            cause = ?error,
            "hashing goes on at the priority of everything else: session checks may be slow \
             while many log in"
        );
    }
}
