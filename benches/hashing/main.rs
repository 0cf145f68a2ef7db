//! How the hashing engine fares against its targets: `cargo bench` prints one
//! table of them with `--bench hashing`, and with `-- engine` or `-- server` behind
//! that one part each. All of it takes about two minutes, on Linux.
//!
//! Machines are shared and noisy, so each figure is a ratio within one run, or
//! a time that hardly depends on the machine. Whatever it measures, it exits
//! with 0: no test goes by a time. What misses its target is marked so.
//!
//! The yardstick, "the crate", is the `bcrypt` crate, one hash at a time on one
//! plain thread.
//!
//! In this process, through `Passwords` with one thread, verifying real stored
//! hashes, in rounds that take turns with the crate; the median of the rounds'
//! ratios, with the least and the greatest:
//!
//! - **4 concurrent jobs**: four callers, each of which asks again as soon as it
//!   is answered; hashes per second against the crate's.
//! - **At saturation**: the same with 32 callers.
//! - **A lone job**: one caller; time of a hash against the crate's.
//!
//! With the real binary over real sockets, on SQLite:
//!
//! - **Logins per second**: more callers than there are lanes, none of whom is
//!   refused. Against the cores that the server may use, each at the crate's
//!   rate, which is taken just before and after.
//! - **`GetUserBySession`**: checks at a steady rate, whatever becomes of those
//!   before, each timed from when it was due. The p99 over all windows during
//!   which logins saturate the server, against that of the windows between.
//! - **Overload**: logins at twice the rate that the cores could serve at best,
//!   with the default settings; the p99 of the time to a RESOURCE_EXHAUSTED reply
//!   whose reason is OVERLOADED, from when the login was due.
//! - **Logins of others**: one connection logs in as fast as it is answered, with as
//!   many logins in progress as it may have; the part that is served of logins that
//!   others make at a steady rate meanwhile.
//! - **A caller that left**: the CPU time, less that of an idle server, that the
//!   process spends from when a login is cancelled in the middle of its hash; the
//!   most of all tries.

#![expect(unreachable_pub, reason = "nobody reaches into a benchmark")]

mod engine;
mod generator;
#[path = "../shared/machine.rs"]
mod machine;
#[path = "../shared/pace.rs"]
mod pace;
#[path = "../shared/process.rs"]
mod process;
mod reference;
mod server;
#[path = "../shared/statistics.rs"]
mod statistics;
#[path = "../shared/table.rs"]
mod table;

use std::{env, process::ExitCode};

fn main() -> ExitCode {
    if cfg!(debug_assertions) {
        println!("not measured: this build is not optimised; run cargo bench");
        return ExitCode::SUCCESS;
    }
    // Cargo adds --bench.
    let arguments: Vec<String> = env::args().skip(1).filter(|a| a != "--bench").collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let (command, engine, server) = match arguments[..] {
        [] => ("cargo bench --bench hashing", true, true),
        ["engine"] => ("cargo bench --bench hashing -- engine", true, false),
        ["server"] => ("cargo bench --bench hashing -- server", false, true),
        _ => {
            eprintln!("write cargo bench --bench hashing, and -- engine or -- server for a part");
            return ExitCode::FAILURE;
        }
    };

    println!("{}\n", machine::description());
    println!("$ {command}\n");
    let others = machine::Others::count();
    let mut rows = Vec::new();
    if engine {
        rows.extend(engine::rows());
    }
    if server {
        rows.extend(server::rows());
    }
    print!("{}", table::render(&rows));
    println!("- {}", others.note());
    ExitCode::SUCCESS
}
