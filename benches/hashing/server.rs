//! The whole server: the real binary, real sockets, SQLite.

mod abandoned;
mod checks;
mod client;
mod flood;
mod others;
mod overload;
mod saturation;
mod subject;

use crate::table::Row;

/// All figures.
pub fn rows() -> Vec<Row> {
    let mut rows = saturation::rows();
    rows.push(overload::row());
    rows.push(others::row());
    rows.push(abandoned::row());
    rows
}
