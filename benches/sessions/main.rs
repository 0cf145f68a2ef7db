//! How session checks fare against their targets: `cargo bench --bench sessions`
//! prints one table of them, with `--` and the names of parts behind that those
//! parts. All of it takes about a quarter of an hour, on Linux with at least two cores and
//! `taskset`, and half a gigabyte in the temporary folder.
//!
//! Machines are shared and noisy, so each figure is a ratio within one run, or
//! a time that hardly depends on the machine: the median of the rounds' ratios, with
//! the least and the greatest. Whatever it measures, it exits with 0: no test goes by
//! a time. What misses its target is marked so.
//!
//! Each server, the real binary over real sockets, has one core, and so one thread
//! for all requests; the generator of the load has the others. It speaks HTTP/2 by
//! hand (`connection.rs`) and takes a fraction of what the server does; whether the
//! server was the limit is said under the table. CPU time is the kernel's count
//! for the server's process: PostgreSQL's is not in it, but, where it was started for
//! this, in what others are said to have kept busy. Databases hold a million sessions,
//! one for each user, logged in an hour ago and seen within the quarter of an hour; those asked
//! for are picked from all of them at random.
//!
//! The yardstick, "a bare unary call" (`bare.rs`), is tonic's own server with the same
//! messages and settings, whose answer is made from constants: as long, and with
//! nothing looked up.
//!
//! - **checks**: requests per second, as many as one core can answer, and CPU time for
//!   each, in turns with the bare server on the same core.
//! - **sizes**: CPU time for each request with a million sessions against ten
//!   thousand, in turns, on SQLite; and how much more memory (resident set) the one
//!   server has than the other, for each session more, after as many checks.
//! - **batch**: the CPU time of one check alone against that of one of 256 in a call.
//! - **nodes**: checks per second of CPU time. Three nodes are asked at once; their
//!   three figures are added up, and divided by what the same nodes come to one at a
//!   time, while bare servers in place of the other two keep the other cores as busy.
//!   So what is lost to caches and a clock that cores share is not laid at the nodes'
//!   door. Under the table they are also compared with three times a node on a machine
//!   that has nothing else to do. With fewer than four cores, they share.
//! - **revocation**: two nodes are asked for one session again and again, each by a
//!   caller that waits for its answer, while a third is asked to end it. The time from
//!   the reply to that logout to the first refusal; none if the refusal came first.
//! - **random**: well-formed `session_id`s that nobody was given: refusals per second
//!   at full speed against confirmations of valid ones; the three nodes share two
//!   cores, which leaves enough to ask them. And what valid callers, 400 times a
//!   second however long it takes, notice of it: the p99 of the time from when a check
//!   was due, with the flood against without.

#![expect(unreachable_pub, reason = "nobody reaches into a benchmark")]

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
mod forged;
mod ids;
#[path = "../shared/machine.rs"]
mod machine;
mod measure;
mod nodes;
#[path = "../shared/pace.rs"]
mod pace;
#[path = "../../tests/api/harness/postgres.rs"]
mod postgres;
#[path = "../shared/process.rs"]
mod process;
mod question;
mod revocation;
mod server;
mod sizes;
#[path = "../shared/statistics.rs"]
mod statistics;
#[path = "../shared/table.rs"]
mod table;

use std::{env, process::ExitCode};

use self::{
    cluster::Cluster,
    cores::Cores,
    databases::Databases,
    table::{Measured, Row, Target},
};

/// What every part is given.
struct Given {
    cores: Cores,
    databases: Databases,
}

type Part = (&'static str, fn(&Given) -> Vec<Row>);

const PARTS: [Part; 6] = [
    ("checks", checks::rows),
    ("sizes", sizes::rows),
    ("batch", batch::rows),
    ("nodes", nodes::rows),
    ("revocation", revocation::rows),
    ("random", forged::rows),
];

/// A ratio and its notes, or why there is none.
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
        eprintln!("write cargo bench --bench sessions, and for some parts -- and any of {names}");
        return ExitCode::FAILURE;
    }
    let Some(cores) = Cores::given().filter(|_| cores::can_pin()) else {
        println!("not measured: session checks need two cores, and taskset to tell them apart");
        return ExitCode::SUCCESS;
    };

    println!("{}\n", machine::description());
    let mut command = "cargo bench --bench sessions".to_owned();
    if !arguments.is_empty() {
        command = format!("{command} -- {}", arguments.join(" "));
    }
    println!("$ {command}\n");
    let others = machine::Others::count();
    // Of whatever starts from here, PostgreSQL included.
    cores.leave_to_servers(1);
    let databases = Databases::new(&cores);
    let given = Given { cores, databases };
    let chosen = PARTS
        .iter()
        .filter(|(part, _)| arguments.is_empty() || arguments.iter().any(|name| name == part));
    let rows: Vec<Row> = chosen.flat_map(|(_, rows)| rows(&given)).collect();
    print!("{}", table::render(&rows));
    println!("- {}", others.note());
    ExitCode::SUCCESS
}
