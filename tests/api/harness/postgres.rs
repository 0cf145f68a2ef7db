//! A PostgreSQL to test on: the one that `TEST_POSTGRES_URL` names, else a
//! throwaway cluster from an installed `initdb`, else none.

use std::{
    env,
    io::{self, Write as _},
    mem,
    net::TcpListener,
    sync::OnceLock,
};

use super::Cluster;

/// The URL of a database that new ones can be created from, as a superuser;
/// `None` where there is no PostgreSQL, said loudly once.
pub fn url() -> Option<&'static str> {
    static URL: OnceLock<Option<String>> = OnceLock::new();
    URL.get_or_init(|| {
        if let Ok(url) = env::var("TEST_POSTGRES_URL") {
            return Some(url);
        }
        let port = TcpListener::bind("127.0.0.1:0")
            .and_then(|socket| socket.local_addr())
            .expect("a free port")
            .port();
        let Some(cluster) = Cluster::on_a_port(port) else {
            skipped("every PostgreSQL test", "or set TEST_POSTGRES_URL");
            return None;
        };
        let url = cluster.url().to_owned();
        // Kept for ever: the pipe to its keeper closes when this process ends.
        mem::forget(cluster);
        Some(url)
    })
    .as_deref()
}

/// Says, past the capture of cargo test, which hides what a passing test prints,
/// that there is no PostgreSQL to test on.
pub fn skipped(what: &str, remedy: &str) {
    say_skipped(what, &format!("Install PostgreSQL (initdb) {remedy}"));
}

/// The same of anything else that is not installed.
pub fn say_skipped(what: &str, remedy: &str) {
    let _ = writeln!(io::stderr(), "\n*** SKIPPED: {what}. {remedy}. ***\n");
}
