//! Snapshots of a PostgreSQL server: which transactions are complete.

use std::str::FromStr;

/// A value of the type `pg_snapshot`. Transactions are numbered (`xid8`) in the order in which
/// they begin to write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Snapshot {
    /// No transaction with this number or a greater one is complete.
    end: u64,
    /// The incomplete transactions with a smaller number.
    in_progress: Vec<u64>,
}

/// The transactions that may have completed between two snapshots.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Completed {
    /// The first transaction that began after the earlier snapshot.
    pub(super) first: u64,
    /// The first transaction that begins after the later snapshot.
    pub(super) end: u64,
    /// The transactions in progress in the earlier snapshot and not in the later one.
    pub(super) earlier: Vec<u64>,
}

impl Snapshot {
    /// Whether this snapshot is not newer than another one. A server's snapshots never go
    /// back.
    pub(super) fn precedes(&self, later: &Self) -> bool {
        self.end <= later.end
    }

    /// The transactions visible in a later snapshot and not in this one, and perhaps others.
    pub(super) fn completed_by(&self, later: &Self) -> Completed {
        let is_complete = |number: &&u64| !later.in_progress.contains(number);
        Completed {
            first: self.end,
            end: later.end,
            earlier: self
                .in_progress
                .iter()
                .filter(is_complete)
                .copied()
                .collect(),
        }
    }
}

impl Completed {
    /// Whether there are no such transactions.
    pub(super) fn is_empty(&self) -> bool {
        self.first >= self.end && self.earlier.is_empty()
    }
}

/// The text is not a snapshot.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct SnapshotError;

impl FromStr for Snapshot {
    type Err = SnapshotError;

    /// Reads `xmin:xmax:xip,xip…`.
    fn from_str(text: &str) -> Result<Self, SnapshotError> {
        let number = |text: &str| text.parse::<u64>().map_err(|_| SnapshotError);
        let mut parts = text.split(':').skip(1);
        let (Some(end), Some(in_progress), None) = (parts.next(), parts.next(), parts.next())
        else {
            return Err(SnapshotError);
        };
        Ok(Self {
            end: number(end)?,
            in_progress: in_progress
                .split_terminator(',')
                .map(number)
                .collect::<Result<_, _>>()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn snapshot(text: &str) -> Snapshot {
        text.parse().unwrap()
    }

    #[test]
    fn a_snapshot_is_read() {
        assert_eq!(
            snapshot("10:20:10,14"),
            Snapshot {
                end: 20,
                in_progress: vec![10, 14],
            }
        );
        assert!(snapshot("20:20:").in_progress.is_empty());
        for text in [
            "",
            "10",
            "10:20",
            "10:x:",
            "10:20:1,x",
            "10:20:10:",
            "10:-1:",
        ] {
            assert_eq!(text.parse::<Snapshot>(), Err(SnapshotError), "{text}");
        }
    }

    #[test]
    fn transactions_completed_between_two_snapshots() {
        let completed = snapshot("10:20:10,14").completed_by(&snapshot("14:25:14,21"));
        let expected = Completed {
            first: 20,
            end: 25,
            earlier: vec![10],
        };
        assert_eq!(completed, expected);
        assert!(!completed.is_empty());
        // A long transaction does not make every query read all later sessions.
        let same = snapshot("10:20:10");
        assert!(same.completed_by(&same).is_empty());
        assert!(!same.completed_by(&snapshot("20:20:")).is_empty());
    }

    #[test]
    fn a_snapshot_that_goes_back_is_detected() {
        assert!(snapshot("10:20:10").precedes(&snapshot("20:20:")));
        assert!(!snapshot("10:20:10").precedes(&snapshot("19:19:")));
    }
}
