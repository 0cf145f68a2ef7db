//! How many connections the operating system lets the process have.

use super::connection_limits::ConnectionLimits;
use crate::config::LimitSettings;

/// File descriptors that are not for callers: the runtime's own, the log's,
/// and some to spare.
const RESERVE: u64 = 32;

/// How many each connection to the database may take: SQLite opens the file,
/// its log and its index.
const PER_DATABASE_CONNECTION: u64 = 3;

/// Asks for as many file descriptors as the process may have, and makes places
/// for no more connections than there are. Without that, callers would take the
/// last ones, and the database could not be reached.
pub(crate) fn connection_limits(
    limits: &LimitSettings,
    database_connections: u32,
) -> ConnectionLimits {
    // One more is SQLite's writer.
    let database = PER_DATABASE_CONNECTION * (u64::from(database_connections) + 1);
    let wanted = limits.max_connections as u64 + RESERVE + database;
    let most = match rlimit::increase_nofile_limit(wanted) {
        Ok(granted) if granted < wanted => {
            let rest = granted.saturating_sub(RESERVE + database).max(1);
            let most = usize::try_from(rest).unwrap_or(usize::MAX);
            tracing::warn!(
                "max-connections is {most}, not {}: the process may open {granted} files; \
                 raise that limit (ulimit -n, LimitNOFILE) for more",
                limits.max_connections
            );
            most
        }
        _ => limits.max_connections,
    };
    ConnectionLimits::new(most, limits)
}
