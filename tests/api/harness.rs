//! The test harness: databases, servers on their own ports, and clients.

pub mod aiosmtpd;
mod calibration;
pub mod certificate;
pub mod chromium;
pub mod cluster;
pub mod database;
mod eventually;
pub mod flask;
pub mod flood;
pub mod foreign_hashes;
pub mod grpcio;
pub mod grpcurl;
pub mod h2;
pub mod history;
mod host;
pub mod http1;
pub mod methods;
pub mod nodes;
pub mod outbox;
pub mod ports;
pub mod postgres;
pub mod process;
pub mod programs;
pub mod proxy;
mod random;
pub mod raw;
pub mod relay;
pub mod requests;
pub mod server;
pub mod smtp;
pub mod status;
pub mod watch;

pub use calibration::Calibration;
pub use cluster::Cluster;
pub use database::Database;
pub use eventually::{
    PATIENCE, eventually, eventually_blocking, eventually_some, eventually_within,
};
pub use flask::FlaskService;
pub use flood::{Call, Flood};
pub use host::Host;
pub use outbox::Outbox;
pub use process::Process;
pub use random::Random;
pub use server::TestServer;
pub use status::{Expect, refused};
pub use watch::Watcher;

/// A password that meets the policy.
pub const PASSWORD: &str = "correct horse battery";

/// Another one.
pub const NEW_PASSWORD: &str = "staple of a new battery";

/// The usual user's address. Every test has its own database.
pub const EMAIL: &str = "ada@example.com";

/// The number of concurrent callers in a race, and of repetitions.
pub const AT_ONCE: usize = 64;
pub const ROUNDS: usize = 100;

/// Turns each `async fn case(database: Database)` into a test on SQLite and one on
/// PostgreSQL.
macro_rules! on_each_database {
    ($($(#[doc = $doc:literal])* async fn $name:ident($database:ident: Database) $body:block)*) => {$(
        mod $name {
            use crate::harness::Database;

            #[test]
            fn on_sqlite() {
                Database::sqlite().run(super::$name);
            }

            #[test]
            fn on_postgres() {
                if let Some(database) = Database::postgres_blocking() {
                    database.run(super::$name);
                }
            }
        }

        $(#[doc = $doc])*
        async fn $name($database: Database) $body
    )*};
}
pub(crate) use on_each_database;
