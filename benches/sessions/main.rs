//! Measures session checks against their targets: `cargo bench --bench sessions` prints a
//! table of all parts, or of the parts named after `--`. All of it takes about a quarter of
//! an hour, on Linux with at least two cores and `taskset`, and half a gigabyte in the
//! temporary folder.
//!
//! Machines are shared and noisy, so each figure is a ratio within one run, or a time that
//! hardly depends on the machine: the median of the rounds, with the minimum and the maximum.
//! The exit status is always 0, since times cannot be a test. Missed targets are marked.
//!
//! Each server, the real binary over real sockets, has one core, and so one thread for all
//! requests; the load generator has the other cores. It implements HTTP/2 itself
//! (`connection.rs`) and uses a fraction of the server's time; the notes below the table say
//! whether the server was the limit. CPU time is the kernel's count for the server's process.
//! It excludes PostgreSQL's, which counts as other processes' time where the benchmark started
//! PostgreSQL. Databases hold a million sessions, one per user, opened an hour ago and seen
//! within the last quarter of an hour; requests pick from all of them at random.
//!
//! The baseline, "a bare unary call" (`bare.rs`), is tonic's own server with the same messages
//! and settings and a constant reply of the same length, without any look-up.
//!
//! - **checks**: requests per second at full load of one core, and CPU time per request,
//!   alternating with the bare server on the same core.
//! - **sizes**: CPU time per request with a million sessions against ten thousand,
//!   alternating, on SQLite; and the additional memory (resident set) per additional session,
//!   after equally many checks.
//! - **batch**: the CPU time of a single check against that of one of 256 in a call.
//! - **nodes**: checks per second of CPU time. The sum over three nodes under load at once is
//!   divided by the sum over the same nodes one at a time, while bare servers keep the other
//!   two cores equally busy: this excludes the effects of shared caches and clock speeds. A
//!   note compares them with three times one node on an otherwise idle machine. With fewer
//!   than four cores, nodes share cores.
//! - **revocation**: one caller on each of two nodes checks a session repeatedly while a third
//!   node ends it. Measures the time from the reply to the logout to the first refusal; zero
//!   if the refusal came first.
//! - **random**: unknown well-formed `session_id`s: refusals per second at full load against
//!   confirmations of valid ones; the three nodes share two cores, to leave enough for the
//!   generator. And the effect on valid callers with 400 scheduled checks a second: the p99 of
//!   the time since a check was due, with the flood against without.

#![expect(unreachable_pub, reason = "a benchmark crate exports nothing")]

mod bare;
mod batch;
mod callers;
mod checks;
#[expect(dead_code, reason = "the tests need more of it")]
#[path = "../../tests/api/harness/cluster.rs"]
mod cluster;
mod connection;
mod cores;
#[expect(dead_code, reason = "the tests need more of it")]
#[path = "../../tests/api/harness/database.rs"]
mod database;
mod databases;
mod filling;
mod flood;
mod ids;
#[path = "../shared/machine.rs"]
mod machine;
mod measure;
mod nodes;
#[path = "../shared/pace.rs"]
mod pace;
#[path = "../../tests/api/harness/ports.rs"]
mod ports;
#[path = "../../tests/api/harness/postgres.rs"]
mod postgres;
#[path = "../shared/process.rs"]
mod process;
mod revocation;
mod server;
mod sizes;
#[path = "../shared/statistics.rs"]
mod statistics;
#[path = "../shared/table.rs"]
mod table;
mod unknown;
mod workload;

use std::{env, process::ExitCode};

use self::{
    cluster::Cluster,
    cores::Cores,
    databases::Databases,
    table::{Measured, Row, Target},
};

/// The environment of every part.
struct Context {
    cores: Cores,
    databases: Databases,
}

type Part = (&'static str, fn(&Context) -> Vec<Row>);

const PARTS: [Part; 6] = [
    ("checks", checks::rows),
    ("sizes", sizes::rows),
    ("batch", batch::rows),
    ("nodes", nodes::rows),
    ("revocation", revocation::rows),
    ("random", unknown::rows),
];

/// A ratio and its notes, or the reason for its absence.
type Compared = Result<(Measured, Vec<String>), String>;

fn row(figure: &'static str, target: Target, compared: Compared) -> Row {
    let (measured, notes) = match compared {
        Ok((measured, notes)) => (Ok(measured), notes),
        Err(why) => (Err(why), vec![]),
    };
    Row {
        figure,
        target,
        unit: "",
        measured,
        notes,
    }
}

fn main() -> ExitCode {
    // Cargo adds --bench.
    let arguments: Vec<String> = env::args().skip(1).filter(|a| a != "--bench").collect();
    if arguments == [server::BARE] {
        bare::serve();
        return ExitCode::SUCCESS;
    }
    if cfg!(debug_assertions) {
        println!("not measured: this build is not optimised; run cargo bench");
        return ExitCode::SUCCESS;
    }
    let is_part = |name: &String| PARTS.iter().any(|(part, _)| part == name);
    if !arguments.iter().all(is_part) {
        let names = PARTS.map(|(name, _)| name).join(", ");
        eprintln!("usage: cargo bench --bench sessions [-- PART...], with the parts {names}");
        return ExitCode::FAILURE;
    }
    let Some(cores) = Cores::available().filter(|_| cores::can_pin()) else {
        println!("not measured: session checks need two cores, and taskset to assign them");
        return ExitCode::SUCCESS;
    };

    println!("{}\n", machine::description());
    let mut command = "cargo bench --bench sessions".to_owned();
    if !arguments.is_empty() {
        command = format!("{command} -- {}", arguments.join(" "));
    }
    println!("$ {command}\n");
    let others = machine::Others::count();
    // Also for processes started from here, PostgreSQL included.
    cores.leave_to_servers(1);
    let databases = Databases::new(&cores);
    let context = Context { cores, databases };
    let chosen = PARTS
        .iter()
        .filter(|(part, _)| arguments.is_empty() || arguments.iter().any(|name| name == part));
    let rows: Vec<Row> = chosen.flat_map(|(_, rows)| rows(&context)).collect();
    print!("{}", table::render(&rows));
    println!("- {}", others.note());
    ExitCode::SUCCESS
}
