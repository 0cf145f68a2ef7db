//! The real server over real sockets, on real databases.

#![expect(unreachable_pub, reason = "nobody reaches into a test")]
#![expect(clippy::unwrap_used, reason = "to panic is how a test fails")]

mod abandoned;
mod admin;
mod bad_fields;
mod bad_requests;
mod batch;
mod browser;
mod cache_contract;
mod calibrate;
mod cookies;
mod database_host;
mod databases;
mod decoys;
mod devices;
mod durability;
mod fairness;
mod flask;
mod forged_cookies;
mod forms;
mod harness;
mod hashing;
mod history;
mod house;
mod http1;
mod import;
mod import_hostile;
mod import_million;
mod import_sources;
mod locks;
mod log;
mod log_floods;
mod made_up;
mod log_positions;
mod mail;
mod node_faults;
mod nodes;
mod outgoing_mail;
mod overload;
mod password_change;
mod password_reset;
mod passwords_in_settings;
mod queries;
mod rehash;
mod reset_page;
mod rollback;
mod session_index;
mod sessions;
mod settings;
mod shutdown;
mod story;
mod timing;
mod transport;
mod watch;
mod web;
