//! What every test starts from: a database, a server on a port of its own, a
//! client.

pub mod aiosmtpd;
pub mod certificate;
pub mod chromium;
pub mod cluster;
pub mod database;
pub mod flask;
pub mod flood;
pub mod foreign;
pub mod grpcio;
pub mod grpcurl;
pub mod h2;
pub mod history;
mod host;
pub mod http1;
pub mod nginx;
pub mod nodes;
pub mod outbox;
mod pace;
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

pub use cluster::Cluster;
pub use database::Database;
pub use flask::FlaskService;
pub use flood::{Call, Flood};
pub use host::Host;
pub use outbox::Outbox;
pub use pace::Pace;
pub use process::Process;
pub use random::Random;
pub use server::TestServer;
pub use status::{Expect, refused};
pub use watch::Watcher;

/// A password that the policy takes.
pub const PASSWORD: &str = "correct horse battery";

/// Another that it takes.
pub const NEW_PASSWORD: &str = "staple of a new battery";

/// An address that every test may use: each has a database of its own.
pub const EMAIL: &str = "ada@example.com";

/// How many callers race for something that one of them gets, and how often.
pub const AT_ONCE: usize = 64;
pub const ROUNDS: usize = 100;

/// Makes of each `async fn case(database: Database)` one test on SQLite and
/// one on PostgreSQL.
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
