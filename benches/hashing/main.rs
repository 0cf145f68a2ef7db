//! The hashing of the whole server, measured against its targets:
//! `cargo bench --bench hashing`, in about two minutes, on Linux. The benchmark of the
//! engine alone is `cargo bench -p bcrypt-lanes`.
//!
//! Machines are shared and noisy, so each figure is a ratio within one run, or a time that
//! hardly depends on the machine. A missed target is marked, and the exit code is 0 in any
//! case. The reference, "the crate", is the `bcrypt` crate, one hash at a time on one
//! thread.
//!
//! With the real binary over real sockets, on SQLite:
//!
//! - **Logins per second**: with more callers than lanes, of which none is refused. Relative
//!   to the crate on all cores of the server, measured just before and after.
//! - **`GetUserBySession`**: the p99 of checks at a steady rate while logins saturate the
//!   server, relative to the p99 without them. Each check is timed from its due time,
//!   however late the previous ones are.
//! - **Overload**: logins at twice the highest rate that the cores could serve, with the
//!   default settings. The p99 of the time from a login's due time to a RESOURCE_EXHAUSTED
//!   reply with the reason OVERLOADED.
//! - **Logins of others**: one connection logs in as fast as it gets replies, with the most
//!   concurrent requests of a connection. The part of the logins of other connections, at a
//!   steady rate, that are served meanwhile.
//! - **A caller that left**: the CPU time of the process after a login is cancelled in the
//!   middle of its hash, less that of an idle server; the maximum of all tries.

#![expect(
    unreachable_pub,
    reason = "the modules of a benchmark have no other users"
)]

mod generator;
#[path = "../shared/machine.rs"]
mod machine;
#[path = "../shared/pace.rs"]
mod pace;
#[path = "../shared/process.rs"]
mod process;
#[path = "../shared/reference.rs"]
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
    if env::args().skip(1).any(|argument| argument != "--bench") {
        eprintln!("usage: cargo bench --bench hashing");
        return ExitCode::FAILURE;
    }

    println!("{}\n", machine::description());
    println!("$ cargo bench --bench hashing\n");
    let others = machine::Others::count();
    print!("{}", table::render(&server::rows()));
    println!("- {}", others.note());
    ExitCode::SUCCESS
}
