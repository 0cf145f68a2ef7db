//! Sessions: opening, checking, listing and ending them, from the cache while it is fresh.

pub(crate) mod batch;
pub mod cache;
pub(crate) mod cache_maintenance;
pub(crate) mod check;
pub mod freshness;
pub(crate) mod manage;
pub(crate) mod open;
pub(crate) mod watch;
