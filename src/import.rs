//! Moving in from another service: which of its users can be taken, and all of
//! those, or none.

mod id_map;
mod report;
mod row_validator;

use std::path::PathBuf;

use chrono::{DateTime, Utc};
use thiserror::Error;

use self::{
    id_map::IdMap,
    row_validator::{Ids, Judge, Rules, Verdict},
};
pub use self::{
    id_map::IdMapError,
    report::{BadRow, Observer, Summary},
    row_validator::{Before, Reason},
};
use crate::{
    clock::Clock,
    db::{
        DatabaseUrl,
        import::{Source, SourceError, SourceIds, SourceRow, SourceTable, Target, TargetError},
    },
    domain::{HashedPassword, User},
    passwords::PepperScheme,
};

/// How many rows are looked up and written at a time: a fraction of how many
/// parameters a statement can have (32,766 on SQLite, 65,535 on PostgreSQL).
const BATCH: usize = 1_000;

/// What to import, and how.
#[derive(Clone, Debug)]
pub struct Order {
    /// The other service's database.
    pub from: DatabaseUrl,
    /// Where its users stand.
    pub table: SourceTable,
    /// This service's database.
    pub into: DatabaseUrl,
    /// Whether nothing is written at all.
    pub is_dry_run: bool,
    /// Whether rows that cannot be taken are left out, rather than keep all the
    /// others out as well.
    pub skips_bad: bool,
    /// Whether a user comes along whose password does not, to set one by mail.
    pub takes_without_password: bool,
    /// What the other service mixed into the passwords, if anything.
    pub pepper: Option<PepperScheme>,
    /// Where to write which id each user has.
    pub id_map: Option<PathBuf>,
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
    /// The map of the ids cannot be written.
    #[error(transparent)]
    IdMap(#[from] IdMapError),
}

/// Imports users: with their ids, where these are whole numbers, and stored hashes, not with
/// their sessions and reset tokens. A user who is there already is left as they are. Nothing is
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
    let mut source = Source::open(&order.from, &order.table)?;
    source.differs_from(&order.into)?;
    let mut target = if order.is_dry_run {
        Target::inspect(&order.into)?
    } else {
        Target::open(&order.into)?
    };
    let ids = match source.ids() {
        SourceIds::Numbers => Ids::Kept,
        SourceIds::Texts => Ids::New(target.next_id()?),
    };
    let rules = Rules {
        takes_without_password: order.takes_without_password,
        pepper: order.pepper,
    };
    let id_map = match &order.id_map {
        Some(path) if !order.is_dry_run => Some(IdMap::create(path)?),
        _ => None,
    };
    observer.begin(source.rows());
    let mut import = Import {
        target,
        judge: Judge::new(source.rows(), ids, rules),
        summary: Summary::new(order, source.ids(), source.origin()),
        id_map,
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
    if !import.summary.is_written() {
        return Ok(import.summary);
    }
    let mut id_map = import.id_map;
    if let Some(id_map) = &mut id_map {
        id_map.finish()?;
    }
    let committed = import.target.commit();
    // Where that is open, the users may be there, and the map is theirs.
    if let (Ok(()) | Err(TargetError::InDoubt { .. }), Some(id_map)) = (&committed, id_map) {
        id_map.keep();
    }
    committed?;
    Ok(import.summary)
}

struct Import<'a> {
    target: Target,
    judge: Judge,
    summary: Summary,
    id_map: Option<IdMap>,
    now: DateTime<Utc>,
    observer: &'a mut dyn Observer,
}

impl Import<'_> {
    /// Empties a batch.
    fn take(&mut self, batch: &mut Vec<SourceRow>) -> Result<(), ImportError> {
        let rows: Vec<_> = batch
            .drain(..)
            .map(|row| self.judge.read(row, self.now))
            .collect();
        let readable: Vec<&User> = rows.iter().flat_map(|row| &row.user).collect();
        let occupied = self.target.find(&readable)?;
        let mut added = Vec::with_capacity(readable.len());
        for row in rows {
            self.summary.read += 1;
            let (id, email) = (row.id, row.email);
            let number = self.summary.read;
            let verdict = row
                .user
                .and_then(|user| self.judge.decide(user, number, &occupied));
            let is_here_as = match verdict {
                Ok(Verdict::Take(user)) => {
                    self.summary.taken += 1;
                    let has_password = user.hashed_password.expose() != HashedPassword::NONE;
                    self.summary.without_password += u64::from(!has_password);
                    let id = user.id;
                    added.push(user);
                    Some(id)
                }
                Ok(Verdict::IsThere(id)) => {
                    self.summary.already_there += 1;
                    Some(id)
                }
                Err(reason) => {
                    self.summary.bad += 1;
                    self.summary.bad_passwords += u64::from(reason.is_about_the_password());
                    self.observer.bad_row(&BadRow {
                        number,
                        id: id.clone(),
                        email,
                        reason,
                    });
                    None
                }
            };
            if let (Some(user), Some(id_map)) = (is_here_as, &mut self.id_map) {
                id_map.add(id.as_ref(), user)?;
            }
        }
        if self.summary.is_written() && !added.is_empty() {
            self.target.add(&added)?;
        }
        self.observer.advance(self.summary.read);
        Ok(())
    }
}
