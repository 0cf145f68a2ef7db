//! The lanes of one core, without the engine.

use std::{
    fmt::Write as _,
    hint::black_box,
    thread,
    time::{Duration, Instant},
};

use bcrypt_lanes::{Input, Lanes, MAX_LANES};

use crate::{reference, statistics::Spread};

const COST: u32 = 9;

const ROUNDS: usize = 5;

/// Hashes of the crate before and after each measurement.
const HASHES: u32 = 4;

/// Hashes in each lane.
const HASHES_PER_LANE: u32 = 4;

/// One row for each number of lanes, in Markdown.
pub fn table() -> String {
    let mut ratios = [const { Vec::new() }; MAX_LANES];
    for round in 1..=ROUNDS {
        eprintln!("the lanes, round {round} of {ROUNDS}");
        let mut before = reference::rate(COST, HASHES);
        for (lanes, ratios) in (1..).zip(&mut ratios) {
            let rate = lanes as f64 / time(lanes).as_secs_f64();
            let after = reference::rate(COST, HASHES);
            ratios.push(rate / f64::midpoint(before, after));
            before = after;
        }
    }
    let mut text = String::from(
        "| lanes | hashes/s, relative to the crate | time, relative to one hash of the crate |\n\
         |---|---|---|\n",
    );
    for (lanes, ratios) in (1..).zip(ratios) {
        let ratio = Spread::of(ratios).median;
        let time = f64::from(lanes) / ratio;
        let _ = writeln!(text, "| {lanes} | {ratio:.2} | {time:.2} |");
    }
    text
}

/// The mean time of one hash in each of this number of lanes.
fn time(lanes: usize) -> Duration {
    let thread = thread::spawn(move || {
        let inputs = (0..lanes).map(|lane| Input::new(b"correct horse", COST, [lane as u8; 16]));
        let inputs: Vec<Input> = inputs.collect();
        let start = Instant::now();
        for _ in 0..HASHES_PER_LANE {
            let mut lanes = Lanes::new();
            for input in &inputs {
                lanes.add(input);
            }
            lanes.advance(u64::MAX);
            black_box(lanes.digest(0));
        }
        start.elapsed() / HASHES_PER_LANE
    });
    thread.join().expect("the lanes hash")
}
