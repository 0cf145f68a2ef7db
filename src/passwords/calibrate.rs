//! What bcrypt costs on this machine.

use std::{
    hint::black_box,
    time::{Duration, Instant},
};

use tokio::task::JoinSet;

use super::{
    Demand, HashingError, Purpose,
    engine::{DEFAULT_SHARE, Engine},
    kernel::{self, Input, MAX_LANES},
};
use crate::deadline::Deadline;

/// What is measured: dear enough that nothing but bcrypt counts. Each step of the
/// cost doubles the work, and nothing else changes.
const COST: u32 = 10;

/// Nobody waits here.
const PATIENCE: Duration = Duration::from_secs(600);

/// How often everything is measured in turn, so that a moment in which the machine is
/// busy with something else does not fall on one figure alone.
const ROUNDS: usize = 5;

/// What was measured, all at cost 10.
#[derive(Clone, Copy, Debug)]
pub struct Calibration {
    /// How many threads hash: the machine.
    pub threads: usize,
    /// How long one hash takes when there is no other.
    pub lone: Duration,
    /// Logins per second of one thread with all of its lanes taken.
    pub one_core: f64,
    /// Logins per second of all threads.
    pub machine: f64,
    /// Logins per second of one thread that computes one hash at a time, with the
    /// `bcrypt` crate.
    pub one_at_a_time: f64,
}

impl Calibration {
    /// How much dearer a cost is than the measured one: 1 for cost 10, 2 for 11.
    pub fn factor(cost: u32) -> f64 {
        2_f64.powi(cost as i32 - COST as i32)
    }

    /// Measures for a few seconds, with so many threads.
    ///
    /// # Errors
    ///
    /// When the operating system gives no threads, or a hash fails.
    pub async fn measure(threads: usize) -> Result<Self, CalibrationError> {
        let one_core = Engine::start(1, PATIENCE, DEFAULT_SHARE)?;
        let machine = Engine::start(threads, PATIENCE, DEFAULT_SHARE)?;
        let mut rounds = Vec::new();
        for _ in 0..ROUNDS {
            rounds.push([
                one_at_a_time(),
                rate(&one_core, 1).await?,
                rate(&one_core, 2 * MAX_LANES).await?,
                rate(&machine, 2 * MAX_LANES * threads).await?,
            ]);
        }
        let median = |figure: usize| {
            let mut values: Vec<f64> = rounds.iter().map(|round| round[figure]).collect();
            values.sort_by(f64::total_cmp);
            values[ROUNDS / 2]
        };
        Ok(Self {
            threads,
            one_at_a_time: median(0),
            lone: Duration::from_secs_f64(median(1).recip()),
            one_core: median(2),
            machine: median(3),
        })
    }
}

/// Why nothing was measured.
#[derive(Debug, thiserror::Error)]
pub enum CalibrationError {
    /// There is nothing to hash on.
    #[error("cannot start its threads: {0}")]
    Start(#[from] std::io::Error),
    /// A hash failed.
    #[error("cannot hash: {0}")]
    Hash(#[from] HashingError),
}

/// Hashes per second with the `bcrypt` crate.
fn one_at_a_time() -> f64 {
    let begun = Instant::now();
    black_box(kernel::reference(&input(0)));
    begun.elapsed().as_secs_f64().recip()
}

/// Hashes per second of so many that are there at once.
async fn rate(engine: &Engine, jobs: usize) -> Result<f64, HashingError> {
    let demand = Demand {
        purpose: Purpose::Login,
        deadline: Deadline::after(PATIENCE),
        only_if_idle: false,
    };
    let begun = Instant::now();
    let mut under_way = JoinSet::new();
    for number in 0..jobs {
        let engine = engine.clone();
        under_way.spawn(async move { engine.bcrypt(input(number), demand).await });
    }
    while let Some(ended) = under_way.join_next().await {
        black_box(ended.map_err(|_| HashingError::Broken)??);
    }
    Ok(jobs as f64 / begun.elapsed().as_secs_f64())
}

fn input(number: usize) -> Input {
    Input::new(b"a password", COST, [number as u8; 16])
}
