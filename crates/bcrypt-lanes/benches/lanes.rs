//! The speed of the engine and the lanes on one core, as ratios to the `bcrypt` crate:
//! `cargo bench -p bcrypt-lanes`, in about a minute and a half, on Linux. With `-- engine`
//! or `-- lanes` it measures one part.
//!
//! Machines are shared and noisy, so each figure is a ratio within one run. The reference,
//! "the crate", is the `bcrypt` crate, one hash at a time on one thread; it is measured
//! before and after each round. Figures are medians over the rounds, with the minimum and
//! the maximum. A missed target is marked, and the exit code is 0 in any case.
//!
//! The engine, with one thread, through its public API:
//!
//! - **4 concurrent jobs**: four callers that each request a hash as soon as they have the
//!   previous one; hashes per second relative to the crate.
//! - **At saturation**: the same with 32 callers.
//! - **A lone job**: one caller; the time of a hash relative to the crate.
//!
//! The lanes, without the engine: hashes per second for each number of lanes, and the time
//! of all of them together.

#![expect(
    unreachable_pub,
    reason = "the modules of a benchmark have no other users"
)]

#[path = "lanes/engine.rs"]
mod engine;
#[path = "lanes/kernel.rs"]
mod kernel;
#[expect(dead_code, reason = "the benchmarks of the server need more of it")]
#[path = "../../../benches/shared/machine.rs"]
mod machine;
#[path = "../../../benches/shared/reference.rs"]
mod reference;
#[expect(dead_code, reason = "the benchmarks of the server need more of it")]
#[path = "../../../benches/shared/statistics.rs"]
mod statistics;
#[path = "lanes/subject.rs"]
mod subject;
#[path = "../../../benches/shared/table.rs"]
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
    let (command, engine, lanes) = match arguments[..] {
        [] => ("cargo bench -p bcrypt-lanes", true, true),
        ["engine"] => ("cargo bench -p bcrypt-lanes -- engine", true, false),
        ["lanes"] => ("cargo bench -p bcrypt-lanes -- lanes", false, true),
        _ => {
            eprintln!("usage: cargo bench -p bcrypt-lanes [-- engine | -- lanes]");
            return ExitCode::FAILURE;
        }
    };

    println!("{}\n", machine::description());
    println!("$ {command}\n");
    let others = machine::Others::count();
    if engine {
        print!("{}", table::render(&engine::rows()));
    }
    if lanes {
        println!("\n{}", kernel::table());
    }
    println!("- {}", others.note());
    ExitCode::SUCCESS
}
