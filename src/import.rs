//! Importing the users of another service: all valid ones, or none.

mod id_map;
mod report;
mod row_error;
mod row_validator;

use std::path::PathBuf;

use chrono::{DateTime, Utc};
use thiserror::Error;

use self::{
    id_map::IdMap,
    row_validator::{IdPolicy, RowOutcome, RowValidator, Rules},
};
pub use self::{
    id_map::IdMapError,
    report::{InvalidRow, Observer, Summary},
    row_error::{EarlierRow, RowError},
};
use crate::{
    clock::Clock,
    db::{
        DatabaseUrl,
        import::{
            SourceDatabase, SourceError, SourceIds, SourceRow, SourceTable, Target, TargetError,
        },
    },
    domain::{HashedPassword, User},
    passwords::PepperScheme,
};

/// The number of rows looked up and written at a time: a fraction of the parameters that a
/// statement can have (32,766 on SQLite, 65,535 on PostgreSQL).
const BATCH: usize = 1_000;

/// The options of an import.
#[derive(Clone, Debug)]
pub struct ImportOptions {
    /// The other service's database.
    pub from: DatabaseUrl,
    /// The table of its users.
    pub table: SourceTable,
    /// This service's database.
    pub into: DatabaseUrl,
    /// Whether to write nothing.
    pub is_dry_run: bool,
    /// Whether to skip invalid rows, instead of importing nothing because of them.
    pub skips_invalid: bool,
    /// Whether to import users with an unusable password hash without a password.
    pub allows_missing_password: bool,
    /// The scheme by which the other service mixed a secret into the passwords, if any.
    pub pepper: Option<PepperScheme>,
    /// The file to write the old and new id of each user to.
    pub id_map: Option<PathBuf>,
}

/// The reason why an import failed.
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

/// Imports users with their stored hashes, and with their ids if these are integers, but without
/// their sessions and reset tokens. Existing users are left unchanged. Nothing is written if a
/// row is invalid, unless such rows are to be skipped.
///
/// # Errors
///
/// When a database cannot be used. Invalid rows are not an error: each is reported to the
/// observer, and the summary counts them.
pub fn run(
    options: &ImportOptions,
    clock: &Clock,
    observer: &mut dyn Observer,
) -> Result<Summary, ImportError> {
    let mut source = SourceDatabase::open(&options.from, &options.table)?;
    source.differs_from(&options.into)?;
    let mut target = if options.is_dry_run {
        Target::inspect(&options.into)?
    } else {
        Target::open(&options.into)?
    };
    let ids = match source.ids() {
        SourceIds::Numbers => IdPolicy::Keep,
        SourceIds::Texts => IdPolicy::AssignFrom(target.next_id()?),
    };
    let rules = Rules {
        allows_missing_password: options.allows_missing_password,
        pepper: options.pepper,
    };
    let id_map = match &options.id_map {
        Some(path) if !options.is_dry_run => Some(IdMap::create(path)?),
        _ => None,
    };
    observer.begin(source.rows());
    let mut import = Import {
        target,
        validator: RowValidator::new(source.rows(), ids, rules),
        summary: Summary::new(options, source.ids(), source.origin()),
        id_map,
        now: clock.now(),
        observer,
    };
    let mut batch = Vec::with_capacity(BATCH);
    source.read(|row| {
        batch.push(row);
        if batch.len() == BATCH {
            import.process(&mut batch)?;
        }
        Ok::<_, ImportError>(())
    })?;
    import.process(&mut batch)?;
    if !import.summary.is_written() {
        return Ok(import.summary);
    }
    let mut id_map = import.id_map;
    if let Some(id_map) = &mut id_map {
        id_map.finish()?;
    }
    let committed = import.target.commit();
    // After a commit in doubt, the users may be stored, and the map is needed.
    if let (Ok(()) | Err(TargetError::InDoubt { .. }), Some(id_map)) = (&committed, id_map) {
        id_map.keep();
    }
    committed?;
    Ok(import.summary)
}

struct Import<'a> {
    target: Target,
    validator: RowValidator,
    summary: Summary,
    id_map: Option<IdMap>,
    now: DateTime<Utc>,
    observer: &'a mut dyn Observer,
}

impl Import<'_> {
    /// Imports the rows of a batch, and empties it.
    fn process(&mut self, batch: &mut Vec<SourceRow>) -> Result<(), ImportError> {
        let rows: Vec<_> = batch
            .drain(..)
            .map(|row| self.validator.read(row, self.now))
            .collect();
        let readable: Vec<&User> = rows.iter().flat_map(|row| &row.user).collect();
        let existing = self.target.find(&readable)?;
        let mut added = Vec::with_capacity(readable.len());
        for row in rows {
            self.summary.read += 1;
            let (id, email) = (row.id, row.email);
            let number = self.summary.read;
            let outcome = row
                .user
                .and_then(|user| self.validator.decide(user, number, &existing));
            let new_id = match outcome {
                Ok(RowOutcome::Import(user)) => {
                    self.summary.imported += 1;
                    let has_password = user.hashed_password.expose() != HashedPassword::NONE;
                    self.summary.without_password += u64::from(!has_password);
                    let id = user.id;
                    added.push(user);
                    Some(id)
                }
                Ok(RowOutcome::AlreadyExists(id)) => {
                    self.summary.already_existing += 1;
                    Some(id)
                }
                Err(error) => {
                    self.summary.invalid += 1;
                    self.summary.invalid_passwords += u64::from(error.is_of_password());
                    self.observer.invalid_row(&InvalidRow {
                        number,
                        id: id.clone(),
                        email,
                        error,
                    });
                    None
                }
            };
            if let (Some(user), Some(id_map)) = (new_id, &mut self.id_map) {
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
