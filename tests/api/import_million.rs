//! A measurement, for a release build on an idle machine:
//!
//! ```text
//! cargo test --release --test api import_million -- --ignored --nocapture
//! ```

use std::{
    fs,
    path::Path,
    thread,
    time::{Duration, Instant},
};

use crate::{
    harness::{Database, process::command},
    import::{SourceFile, many},
};

const ROWS: usize = 1_000_000;
const MAX_TIME: Duration = Duration::from_secs(60);
const MAX_MIB: u64 = 200;

#[tokio::test(flavor = "multi_thread")]
#[ignore = "a measurement, which takes a minute"]
async fn a_million_users_are_imported() {
    let source = SourceFile::from_sql(&many(ROWS));
    let file = Database::sqlite();
    measure("SQLite to SQLite", &source.url(), file.url());
    if let Some(server) = Database::postgres().await {
        measure("SQLite to PostgreSQL", &source.url(), server.url());
        let back = Database::sqlite();
        measure("PostgreSQL to SQLite", server.url(), back.url());
    }
}

fn measure(what: &str, from: &str, into: &str) {
    let start = Instant::now();
    let mut command = command(Path::new("/"));
    command.args(["import", "--from", from, "--database-url", into]);
    let mut child = command.spawn().unwrap();
    let mut peak = 0;
    let status = loop {
        // The peak never falls, so the last reading before the end has it.
        peak = peak_mib(child.id()).unwrap_or(peak);
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        thread::sleep(Duration::from_millis(2));
    };
    let time = start.elapsed();
    println!("{what}: {ROWS} users in {time:.1?}, at most {peak} MiB");
    assert!(status.success(), "{:?}", child.wait_with_output());
    assert!(time < MAX_TIME && peak < MAX_MIB, "{what}");
}

/// The peak memory of a process, in MiB (`VmHWM` of proc(5)).
fn peak_mib(process: u32) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kib: u64 = line.trim().strip_suffix(" kB")?.parse().ok()?;
    Some(kib / 1024)
}
