//! Sessions: opening, checking, listing and ending them, from memory where that is current.

pub(crate) mod batch;
pub mod cache;
pub(crate) mod check;
pub mod freshness;
pub(crate) mod manage;
pub(crate) mod memory;
pub(crate) mod open;
