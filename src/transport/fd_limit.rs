//! Limits the connections to the file descriptors that the process may open.

use super::connection_limits::ConnectionLimits;
use crate::config::LimitSettings;

/// File descriptors for the runtime, the log and other uses besides connections.
const RESERVE: u64 = 32;

/// File descriptors per database connection: SQLite opens the database, its write-ahead log
/// and that log's index.
const PER_DATABASE_CONNECTION: u64 = 3;

/// Raises the process's limit on file descriptors as far as needed and permitted, and limits
/// the connections accordingly. Otherwise callers could use up the file descriptors that
/// the database connections need.
pub(crate) fn connection_limits(
    limits: &LimitSettings,
    database_connections: u32,
) -> ConnectionLimits {
    // SQLite has one more connection, for writing.
    let database = PER_DATABASE_CONNECTION * (u64::from(database_connections) + 1);
    let wanted = limits.max_connections as u64 + RESERVE + database;
    let max_connections = match rlimit::increase_nofile_limit(wanted) {
        Ok(granted) if granted < wanted => {
            let rest = granted.saturating_sub(RESERVE + database).max(1);
            let max_connections = usize::try_from(rest).unwrap_or(usize::MAX);
            tracing::warn!(
                "max-connections is lowered to {max_connections} from {}: the process may open \
                 {granted} files; raise that limit (ulimit -n, LimitNOFILE)",
                limits.max_connections
            );
            max_connections
        }
        _ => limits.max_connections,
    };
    ConnectionLimits::new(max_connections, limits)
}
