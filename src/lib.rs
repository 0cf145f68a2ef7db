//! A self-hosted authentication service: users register, log in, change and reset their
//! passwords; your services look up the user of a session. `ARCHITECTURE.md` describes the
//! modules and the path of a request through them.

pub mod app;
pub mod auth;
pub mod backoff;
pub mod cli;
pub mod clock;
pub mod config;
#[cfg_attr(
    not(feature = "postgres"),
    allow(
        dead_code,
        irrefutable_let_patterns,
        unused_imports,
        unused_mut,
        unused_variables,
        reason = "this build has one database, and the code for a choice of two"
    )
)]
pub mod db;
pub mod deadline;
pub mod domain;
pub mod error_chain;
pub mod error_code;
pub mod gateway;
pub mod http;
pub mod import;
pub mod jobs;
pub mod lifecycle;
pub mod log;
#[cfg_attr(
    not(feature = "smtp"),
    allow(dead_code, reason = "this build delivers to a folder only")
)]
pub mod mail;
pub mod no_effect;
pub mod passwords;
pub mod peer;
pub mod proto;
pub mod request_context;
pub mod request_line;
pub mod rpc;
pub mod secret_file;
pub mod transport;
