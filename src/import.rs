//! Moving in from another service: which of its users can be taken, and all of
//! those, or none.

mod judge;
mod report;

use chrono::{DateTime, Utc};
use thiserror::Error;

use self::judge::{Judge, Verdict};
pub use self::{
    judge::Reason,
    report::{BadRow, Observer, Summary},
};
use crate::{
    clock::Clock,
    db::{
        DatabaseUrl,
        import::{Source, SourceError, SourceRow, Target, TargetError},
    },
    domain::User,
};

/// How many rows are looked up and written at a time: a fraction of how many
/// parameters a statement can have (32,766 on SQLite, 65,535 on PostgreSQL).
const BATCH: usize = 1_000;

/// What to import, and how.
#[derive(Clone, Debug)]
pub struct Order {
    /// The other service's database.
    pub from: DatabaseUrl,
    /// This service's database.
    pub into: DatabaseUrl,
    /// Whether nothing is written at all.
    pub is_dry_run: bool,
    /// Whether rows that cannot be taken are left out, rather than keep all the
    /// others out as well.
    pub skips_bad: bool,
}

/// Why an import broke off.
#[derive(Debug, Error)]
pub enum ImportError {
    /// The source cannot be read.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// The target cannot be written.
    #[error(transparent)]
    Target(#[from] TargetError),
}

/// Imports users: with their ids and stored hashes, not with their sessions and
/// reset tokens. A user who is there already is left as they are. Nothing is
/// written when a row cannot be taken, unless such rows are to be skipped.
///
/// # Errors
///
/// When a database cannot be used. Rows that cannot be taken are no error: the
/// observer hears of each, and the summary counts them.
pub fn run(
    order: &Order,
    clock: &Clock,
    observer: &mut dyn Observer,
) -> Result<Summary, ImportError> {
    let mut source = Source::open(&order.from)?;
    source.differs_from(&order.into)?;
    let target = if order.is_dry_run {
        Target::inspect(&order.into)?
    } else {
        Target::open(&order.into)?
    };
    observer.begin(source.rows());
    let mut import = Import {
        target,
        judge: Judge::new(source.rows()),
        summary: Summary::new(order),
        now: clock.now(),
        observer,
    };
    let mut batch = Vec::with_capacity(BATCH);
    source.read(|row| {
        batch.push(row);
        if batch.len() == BATCH {
            import.take(&mut batch)?;
        }
        Ok::<_, ImportError>(())
    })?;
    import.take(&mut batch)?;
    if import.summary.is_written() {
        import.target.commit()?;
    }
    Ok(import.summary)
}

struct Import<'a> {
    target: Target,
    judge: Judge,
    summary: Summary,
    now: DateTime<Utc>,
    observer: &'a mut dyn Observer,
}

impl Import<'_> {
    /// Empties a batch.
    fn take(&mut self, batch: &mut Vec<SourceRow>) -> Result<(), ImportError> {
        let rows: Vec<_> = batch
            .drain(..)
            .map(|row| Judge::read(row, self.now))
            .collect();
        let readable: Vec<&User> = rows.iter().flat_map(|row| &row.user).collect();
        let occupied = self.target.find(&readable)?;
        let mut added = Vec::with_capacity(readable.len());
        for row in rows {
            self.summary.read += 1;
            let (id, email) = (row.id, row.email);
            let verdict = row.user.and_then(|user| self.judge.decide(user, &occupied));
            match verdict {
                Ok(Verdict::Take(user)) => {
                    self.summary.taken += 1;
                    added.push(user);
                }
                Ok(Verdict::IsThere) => self.summary.already_there += 1,
                Err(reason) => {
                    self.summary.bad += 1;
                    self.observer.bad_row(&BadRow {
                        number: self.summary.read,
                        id,
                        email,
                        reason,
                    });
                }
            }
        }
        if self.summary.is_written() && !added.is_empty() {
            self.target.add(&added)?;
        }
        self.observer.advance(self.summary.read);
        Ok(())
    }
}
