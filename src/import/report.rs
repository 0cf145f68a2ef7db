//! What an import tells a person.

use std::fmt;

use super::{Order, Reason};
use crate::db::DatabaseUrl;

/// The most characters of an e-mail that are shown.
const MAX_SHOWN: usize = 64;

/// Hears how an import goes.
pub trait Observer {
    /// It begins, with so many rows to read.
    fn begin(&mut self, rows: u64);
    /// So many have been read.
    fn advance(&mut self, read: u64);
    /// A row cannot be taken.
    fn bad_row(&mut self, row: &BadRow);
}

/// A row that cannot be taken. It displays as one line.
#[derive(Debug)]
pub struct BadRow {
    /// Which one it is in the order of the ids, from 1.
    pub number: u64,
    /// Its id; `None` when that is no whole number.
    pub id: Option<i64>,
    /// Its e-mail as it stands there; `None` when that is no text.
    pub email: Option<String>,
    /// Why.
    pub reason: Reason,
}

impl fmt::Display for BadRow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "row {}", self.number)?;
        if let Some(id) = self.id {
            write!(f, ", id {id}")?;
        }
        if let Some(email) = &self.email {
            // Quoted and escaped: it may be anything.
            let shown: String = email.chars().take(MAX_SHOWN).collect();
            let cut = if shown.len() < email.len() { "…" } else { "" };
            write!(f, ", {shown:?}{cut}")?;
        }
        write!(f, ": {}", self.reason)
    }
}

/// How an import went. It displays as a few lines for a person.
#[derive(Clone, Debug)]
pub struct Summary {
    /// Rows that were read.
    pub read: u64,
    /// Users who were imported, or could be.
    pub taken: u64,
    /// Users who were there already, with the same id and address.
    pub already_there: u64,
    /// Rows that cannot be taken.
    pub bad: u64,
    from: DatabaseUrl,
    into: DatabaseUrl,
    is_dry_run: bool,
    skips_bad: bool,
}

impl Summary {
    pub(super) fn new(order: &Order) -> Self {
        Self {
            read: 0,
            taken: 0,
            already_there: 0,
            bad: 0,
            from: order.from.clone(),
            into: order.into.clone(),
            is_dry_run: order.is_dry_run,
            skips_bad: order.skips_bad,
        }
    }

    /// Whether no row stands in the way: each can be taken, or left out.
    pub fn is_clean(&self) -> bool {
        self.bad == 0 || self.skips_bad
    }

    /// Whether what can be taken is written.
    pub(super) fn is_written(&self) -> bool {
        !self.is_dry_run && self.is_clean()
    }

    fn ending(&self) -> String {
        if !self.is_clean() {
            let (rows, them) = match self.bad {
                1 => ("One row".to_owned(), "it"),
                bad => (format!("{bad} rows"), "them"),
            };
            return format!(
                "{rows} cannot be taken, and so nobody was imported. Mend what is listed above, \
                 or\nleave {them} out with --skip-bad."
            );
        }
        if self.is_dry_run {
            return "This was a dry run: nothing was written. Leave out --dry-run to import."
                .to_owned();
        }
        if self.taken == 0 {
            return "There was nothing to import: nothing was changed.".to_owned();
        }
        "Ids and passwords are as they were. Sessions and reset tokens were not taken: everybody\n\
         logs in again. Next: bienvenue serve, with the same --database-url."
            .to_owned()
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let taken = if self.is_written() {
            "imported"
        } else {
            "can be imported"
        };
        let bad = if self.is_written() && self.bad > 0 {
            "left out"
        } else {
            "cannot be taken"
        };
        if self.bad > 0 {
            // Between the list and this.
            writeln!(f)?;
        }
        writeln!(
            f,
            "From the database {}\ninto the database {}:\n",
            self.from, self.into
        )?;
        for (number, what) in [
            (self.read, "rows read"),
            (self.taken, taken),
            (self.already_there, "there already, left as they are"),
            (self.bad, bad),
        ] {
            writeln!(f, "{number:>10}  {what}")?;
        }
        writeln!(f, "\n{}", self.ending())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_is_one_tame_line() {
        let row = BadRow {
            number: 3,
            id: Some(7),
            email: Some(format!("\u{1B}[2J\n{}", "a".repeat(90))),
            reason: Reason::NoHash,
        };
        assert_eq!(
            row.to_string(),
            format!(
                "row 3, id 7, \"\\u{{1b}}[2J\\n{}\"…: it has no hashed_password; set one, or \
                 delete it",
                "a".repeat(59)
            )
        );
        let row = BadRow {
            number: 1,
            id: None,
            email: None,
            reason: Reason::NoEmail,
        };
        assert_eq!(
            row.to_string(),
            "row 1: it has no e-mail; give it one, or delete it"
        );
    }

    #[test]
    fn one_row_is_it_and_several_are_them() {
        let mut summary = Summary::new(&Order {
            from: "sqlite:a.db".parse().unwrap(),
            into: "sqlite:bienvenue.db".parse().unwrap(),
            is_dry_run: false,
            skips_bad: false,
        });
        for (bad, rows, advice) in [
            (1, "One row cannot", "leave it out with --skip-bad."),
            (2, "2 rows cannot", "leave them out with --skip-bad."),
        ] {
            summary.bad = bad;
            let text = summary.to_string();
            assert!(text.contains(rows) && text.contains(advice), "{text}");
        }
    }

    #[test]
    fn what_is_written_is_clean_and_no_dry_run() {
        for (bad, skips_bad, is_dry_run, is_clean, is_written) in [
            (0, false, false, true, true),
            (1, false, false, false, false),
            (1, true, false, true, true),
            (0, false, true, true, false),
            (1, true, true, true, false),
        ] {
            let mut summary = Summary::new(&Order {
                from: "sqlite:a.db".parse().unwrap(),
                into: "sqlite:bienvenue.db".parse().unwrap(),
                is_dry_run,
                skips_bad,
            });
            summary.bad = bad;
            assert_eq!(
                (summary.is_clean(), summary.is_written()),
                (is_clean, is_written)
            );
        }
    }
}
