//! Importing users from another service's database: a source, which is only read, and a target,
//! which gets all users in one transaction or none.

mod columns;
mod error;
mod reader;
mod row;
mod source;
mod target;

pub use self::{
    columns::{ColumnNames, ColumnNamesError, Origin, SourceIds, SourceTable},
    error::{SourceError, TargetError},
    row::{SourceId, SourceRow, SourceValue},
    source::SourceDatabase,
    target::{ExistingUsers, Target},
};
