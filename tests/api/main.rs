//! The real server over real sockets, on real databases.

#![expect(unreachable_pub, reason = "nobody reaches into a test")]
#![expect(clippy::unwrap_used, reason = "to panic is how a test fails")]

mod bad_fields;
mod bad_requests;
mod databases;
mod durability;
mod harness;
mod house;
mod import;
mod import_million;
mod import_sources;
mod log;
mod mail;
mod overload;
mod queries;
mod sessions;
mod settings;
mod shutdown;
mod story;
mod timing;
mod transport;
mod web;
