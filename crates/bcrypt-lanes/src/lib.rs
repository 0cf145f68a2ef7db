//! bcrypt in several interleaved lanes per core, and an engine that shares the cores among
//! the callers that wait for a hash.
//!
//! bcrypt is one long chain of table look-ups, each of which depends on the previous one. A
//! core that computes one hash is idle most of the time. [`Lanes`] interleaves up to
//! [`MAX_LANES`] independent hashes on one core: four take about as long as one of the
//! [`bcrypt`](https://docs.rs/bcrypt) crate, seven about one and a half times as long.
//!
//! [`Engine`] runs such lanes on one thread per core, for any number of callers:
//!
//! - A hash joins or leaves the lanes within about a millisecond. No hash waits for a batch
//!   to fill or to end.
//! - Waiting hashes are served by start-time fair queueing: the [classes](JobOptions::class)
//!   by their weights, the [sources](JobOptions::source) within a class evenly, and the
//!   hashes of one source in order.
//! - A hash that could not begin soon enough (by [`EngineConfig::max_wait`]), or not end
//!   before its [deadline](JobOptions::deadline), is refused at once, with a time to retry.
//! - Dropping the future of a call ends its computation.
//! - The threads give way to other work on the machine, down to a guaranteed
//!   [share](EngineConfig::share) of the CPU time.
//! - At start, each number of lanes is compared with the `bcrypt` crate. If one of them
//!   differed, the engine would log an error and use that crate instead.
//!
//! Other slow functions, such as Argon2, can share the engine's rules through
//! [`Engine::run`].
//!
//! # Example
//!
//! ```
//! use std::{
//!     error::Error,
//!     net::{IpAddr, Ipv4Addr},
//!     time::{Duration, Instant},
//! };
//!
//! use bcrypt_lanes::{Engine, EngineConfig, EngineError, Input, JobOptions};
//!
//! #[tokio::main]
//! async fn main() -> Result<(), Box<dyn Error>> {
//!     let engine = Engine::start(EngineConfig::default())?;
//!     // Callers from one address queue behind each other, not in front of other addresses.
//!     let address = IpAddr::from(Ipv4Addr::LOCALHOST);
//!     let options = JobOptions::new(address, Instant::now() + Duration::from_secs(10));
//!     let (cost, salt) = (5, [7; 16]);
//!     match engine.bcrypt(Input::new(b"correct horse", cost, salt), options).await {
//!         Ok(digest) => {
//!             let expected = bcrypt::bcrypt(cost, salt, b"correct horse\0");
//!             assert_eq!(digest.as_bytes()[..], expected[..23]);
//!         }
//!         Err(EngineError::Overloaded { retry_after }) => {
//!             println!("busy, retry in {retry_after:?}");
//!         }
//!         Err(error) => return Err(error.into()),
//!     }
//!     Ok(())
//! }
//! ```
//!
//! # Requirements
//!
//! The crate builds on Linux, whose scheduling policies it uses. The engine's futures need a
//! tokio runtime with its time driver enabled; the hashes run on threads of the engine. The
//! threads log errors and warnings with `tracing`.

mod engine;
mod kernel;

pub use self::{
    engine::{
        DEFAULT_SHARE, Engine, EngineConfig, EngineError, JobOptions, MAX_SHARE, MIN_SHARE,
        SourceKey,
    },
    kernel::{Digest, Input, Lanes, MAX_COST, MAX_KEY_BYTES, MAX_LANES, MIN_COST},
};

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct ReadmeExamples;

/// Locked by tests that load all cores or measure on idle ones.
#[cfg(test)]
static ALL_CORES: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());
