//! Measures the speed of bcrypt on this machine.

use std::{
    hint::black_box,
    time::{Duration, Instant},
};

use bcrypt_lanes::{Engine, EngineConfig, Input, JobOptions, MAX_LANES};
use tokio::task::JoinSet;

use super::HashingError;

/// The measured cost, high enough that everything but bcrypt is negligible. Each step of
/// the cost doubles the work and changes nothing else.
const COST: u32 = 10;

/// Longer than any wait during a measurement.
const PATIENCE: Duration = Duration::from_secs(600);

/// The number of measurements of each figure. The figures are measured in turn, so that a
/// short load on the machine does not affect one figure alone.
const ROUNDS: usize = 5;

/// The measured figures, all at cost 10.
#[derive(Clone, Copy, Debug)]
pub struct Calibration {
    /// The number of hashing threads of `machine`.
    pub threads: usize,
    /// The time of one hash while no other is computed.
    pub lone: Duration,
    /// Logins per second of one thread with all of its lanes in use.
    pub one_core: f64,
    /// Logins per second of all threads.
    pub machine: f64,
    /// Logins per second of one thread that computes one hash at a time, with the
    /// `bcrypt` crate.
    pub one_at_a_time: f64,
}

impl Calibration {
    /// The work of a cost relative to the measured one: 1 for cost 10, 2 for 11.
    pub fn factor(cost: u32) -> f64 {
        2_f64.powi(cost as i32 - COST as i32)
    }

    /// Measures for a few seconds, with this number of threads.
    ///
    /// # Errors
    ///
    /// If the operating system refuses a thread, or a hash fails.
    pub async fn measure(threads: usize) -> Result<Self, CalibrationError> {
        let one_core = start_engine(1)?;
        let machine = start_engine(threads)?;
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

/// The reason for a failed measurement.
#[derive(Debug, thiserror::Error)]
pub enum CalibrationError {
    /// The engine cannot start.
    #[error("cannot start its threads: {0}")]
    Start(#[from] std::io::Error),
    /// A hash failed.
    #[error("cannot hash: {0}")]
    Hash(#[from] HashingError),
}

fn start_engine(threads: usize) -> std::io::Result<Engine<()>> {
    Engine::start(EngineConfig {
        threads,
        max_wait: PATIENCE,
        ..EngineConfig::default()
    })
}

/// Hashes per second with the `bcrypt` crate.
fn one_at_a_time() -> f64 {
    let start = Instant::now();
    black_box(input(0).reference_digest());
    start.elapsed().as_secs_f64().recip()
}

/// Hashes per second of this number of concurrent jobs.
async fn rate(engine: &Engine<()>, jobs: usize) -> Result<f64, HashingError> {
    let options = JobOptions::new((), Instant::now() + PATIENCE);
    let start = Instant::now();
    let mut in_progress = JoinSet::new();
    for number in 0..jobs {
        let engine = engine.clone();
        in_progress.spawn(async move { engine.bcrypt(input(number), options).await });
    }
    while let Some(ended) = in_progress.join_next().await {
        black_box(ended.map_err(|_| HashingError::Panicked)??);
    }
    Ok(jobs as f64 / start.elapsed().as_secs_f64())
}

fn input(number: usize) -> Input {
    Input::new(b"a password", COST, [number as u8; 16])
}
