//! Which transactions of a PostgreSQL server are over.

use std::str::FromStr;

/// A value of the type `pg_snapshot`. Transactions are numbered in the order in which
/// they begin to write; the number of a transaction is its `xid8`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Snapshot {
    /// No transaction of this number or a greater one is over.
    end: u64,
    /// Those of a smaller number that are not over either.
    in_progress: Vec<u64>,
}

/// The transactions that ended between two snapshots, or may have.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Ended {
    /// The first of those that had not begun by the earlier snapshot.
    pub(super) first: u64,
    /// The first that has not begun by the later one.
    pub(super) end: u64,
    /// Those that were in progress and are not any more.
    pub(super) earlier: Vec<u64>,
}

impl Snapshot {
    /// Whether this is of before another one, or of the same moment. A server's
    /// snapshots never go back.
    pub(super) fn precedes(&self, later: &Self) -> bool {
        self.end <= later.end
    }

    /// The transactions that a later snapshot may show and this one does not.
    pub(super) fn ended_by(&self, later: &Self) -> Ended {
        let is_over = |number: &&u64| !later.in_progress.contains(number);
        Ended {
            first: self.end,
            end: later.end,
            earlier: self.in_progress.iter().filter(is_over).copied().collect(),
        }
    }
}

impl Ended {
    /// Whether there are none.
    pub(super) fn is_empty(&self) -> bool {
        self.first >= self.end && self.earlier.is_empty()
    }
}

/// The text is no snapshot.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct NoSnapshot;

impl FromStr for Snapshot {
    type Err = NoSnapshot;

    /// Reads `xmin:xmax:xip,xip…`.
    fn from_str(text: &str) -> Result<Self, NoSnapshot> {
        let number = |text: &str| text.parse::<u64>().map_err(|_| NoSnapshot);
        let mut parts = text.split(':').skip(1);
        let (Some(end), Some(in_progress), None) = (parts.next(), parts.next(), parts.next())
        else {
            return Err(NoSnapshot);
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
            assert_eq!(text.parse::<Snapshot>(), Err(NoSnapshot), "{text}");
        }
    }

    #[test]
    fn what_ended_between_two_snapshots() {
        let ended = snapshot("10:20:10,14").ended_by(&snapshot("14:25:14,21"));
        let expected = Ended {
            first: 20,
            end: 25,
            earlier: vec![10],
        };
        assert_eq!(ended, expected);
        assert!(!ended.is_empty());
        // A transaction that stays open does not make every look read what came after.
        let same = snapshot("10:20:10");
        assert!(same.ended_by(&same).is_empty());
        assert!(!same.ended_by(&snapshot("20:20:")).is_empty());
    }

    #[test]
    fn a_server_that_goes_back_is_noticed() {
        assert!(snapshot("10:20:10").precedes(&snapshot("20:20:")));
        assert!(!snapshot("10:20:10").precedes(&snapshot("19:19:")));
    }
}
