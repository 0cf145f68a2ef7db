//! The PostgreSQL of the tests: that of `TEST_POSTGRES_URL`, else a temporary cluster from an
//! installed `initdb`, else none.

use std::{
    env,
    io::{self, Write as _},
    mem,
    net::TcpListener,
    sync::OnceLock,
};

use super::Cluster;

/// The URL of a database, as a superuser who can create others; `None`, with one message,
/// without PostgreSQL.
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
