//! The PostgreSQL of the tests: that of `TEST_POSTGRES_URL`, else a temporary cluster from an
//! installed `initdb`, else none.

use std::{
    env,
    io::{self, Write as _},
    mem,
    sync::OnceLock,
};

use super::{Cluster, ports::free_port};

/// The URL of a database, as a superuser who can create others; `None`, with one message,
/// without PostgreSQL.
pub fn url() -> Option<&'static str> {
    static URL: OnceLock<Option<String>> = OnceLock::new();
    URL.get_or_init(|| {
        if let Ok(url) = env::var("TEST_POSTGRES_URL") {
            return Some(url);
        }
        let Some(cluster) = Cluster::on_a_port(free_port()) else {
            skipped("every PostgreSQL test", "or set TEST_POSTGRES_URL");
            return None;
        };
        let url = cluster.url().to_owned();
        // Never dropped: the pipe to its keeper closes when this process ends.
        mem::forget(cluster);
        Some(url)
    })
    .as_deref()
}

/// Reports that tests are skipped without PostgreSQL, bypassing cargo test's capture of
/// output.
pub fn skipped(what: &str, remedy: &str) {
    say_skipped(what, &format!("Install PostgreSQL (initdb) {remedy}"));
}

/// The same for any other missing program.
pub fn say_skipped(what: &str, remedy: &str) {
    let _ = writeln!(io::stderr(), "\n*** SKIPPED: {what}. {remedy}. ***\n");
}
