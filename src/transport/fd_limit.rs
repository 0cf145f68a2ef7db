//! Limits the connections to the file descriptors that the process may open.

use crate::config::LimitSettings;

/// The connections of the internal listener: its service accepts 1,024 watch streams, each
/// possibly on a connection of its own, and the rest is for other calls.
const INTERNAL_CONNECTIONS: usize = 1_280;

/// File descriptors for the runtime, the log and other uses besides connections.
const RESERVE: u64 = 32;

/// File descriptors per database connection: SQLite opens the database, its write-ahead log
/// and that log's index.
const PER_DATABASE_CONNECTION: u64 = 3;

/// The maximum number of connections of each listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ConnectionBudget {
    pub(crate) public: usize,
    /// 0 if the internal listener is off.
    pub(crate) internal: usize,
}

impl ConnectionBudget {
    fn of(limits: &LimitSettings, has_internal: bool) -> Self {
        let internal = limits.max_connections.min(INTERNAL_CONNECTIONS);
        Self {
            public: limits.max_connections,
            internal: if has_internal { internal } else { 0 },
        }
    }

    fn total(self) -> usize {
        self.public + self.internal
    }

    /// The budget with a smaller total, in the same proportion. Each listener keeps a connection,
    /// and the public one has the larger part.
    fn lowered_to(self, total: usize) -> Self {
        let internal = (total * self.internal / self.total()).max(self.internal.min(1));
        Self {
            public: total.saturating_sub(internal).max(1),
            internal,
        }
    }
}

/// Raises the process's limit on file descriptors as far as needed and permitted, and limits
/// the connections accordingly. Otherwise callers could use up the file descriptors that
/// the database connections need.
pub(crate) fn connection_budget(
    limits: &LimitSettings,
    database_connections: u32,
    has_internal: bool,
) -> ConnectionBudget {
    let wanted = ConnectionBudget::of(limits, has_internal);
    // SQLite has one more connection, for writing.
    let database = PER_DATABASE_CONNECTION * (u64::from(database_connections) + 1);
    let others = RESERVE + database;
    match rlimit::increase_nofile_limit(wanted.total() as u64 + others) {
        Ok(granted) => {
            let rest = usize::try_from(granted.saturating_sub(others)).unwrap_or(usize::MAX);
            if rest >= wanted.total() {
                return wanted;
            }
            let lowered = wanted.lowered_to(rest);
            warn_of_lowered(wanted, lowered, granted);
            lowered
        }
        Err(_) => wanted,
    }
}

fn warn_of_lowered(wanted: ConnectionBudget, lowered: ConnectionBudget, granted: u64) {
    let internal = match wanted.internal {
        0 => String::new(),
        internal => format!(
            ", and the internal listener to {} connections from {internal}",
            lowered.internal
        ),
    };
    tracing::warn!(
        "max-connections is lowered to {} from {}{internal}: the process may open {granted} \
         files; raise that limit (ulimit -n, LimitNOFILE)",
        lowered.public,
        wanted.public,
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lowered_budget_is_shared_by_both_listeners() {
        let budget = |public, internal| ConnectionBudget { public, internal };
        for (wanted, total, lowered) in [
            (budget(10_000, 0), 900, budget(900, 0)),
            (budget(10_000, 0), 0, budget(1, 0)),
            (budget(10_000, 1_280), 11_279, budget(10_000, 1_279)),
            (budget(10_000, 1_280), 900, budget(798, 102)),
            (budget(10_000, 1_280), 5, budget(4, 1)),
            (budget(10_000, 1_280), 0, budget(1, 1)),
            (budget(100, 100), 15, budget(8, 7)),
        ] {
            assert_eq!(wanted.lowered_to(total), lowered, "{wanted:?} {total}");
        }
    }

    #[test]
    fn the_internal_listener_has_a_part_only_if_it_is_on() {
        for (max_connections, has_internal, internal) in
            [(10_000, false, 0), (10_000, true, 1_280), (100, true, 100)]
        {
            let limits = LimitSettings {
                max_connections,
                ..LimitSettings::default()
            };
            let budget = ConnectionBudget::of(&limits, has_internal);
            assert_eq!(
                (budget.public, budget.internal),
                (max_connections, internal)
            );
        }
    }
}
