//! The start-up proof: each number of lanes computes known answers before it is used for
//! passwords.

use std::time::{Duration, Instant};

use thiserror::Error;

use super::{Digest, Input, Lanes, MAX_LANES};

/// The lowest cost, since each start pays for the proof.
const COST: u32 = 4;

/// A number of lanes whose digests differ from the `bcrypt` crate's.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error("bcrypt in {0} lanes differs from the bcrypt crate")]
pub(crate) struct Mismatch(usize);

/// The time of one expansion, measured during the proof.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct ExpansionTimes {
    /// With one lane in use.
    pub(crate) one_lane: Duration,
    /// With all lanes in use.
    pub(crate) all_lanes: Duration,
}

/// Compares each number of lanes with the `bcrypt` crate.
pub(crate) fn prove() -> Result<ExpansionTimes, Mismatch> {
    prove_with(compute)
}

fn prove_with(compute: impl Fn(&[Input]) -> Vec<Digest>) -> Result<ExpansionTimes, Mismatch> {
    let inputs: Vec<Input> = (0..MAX_LANES).map(input).collect();
    let expected: Vec<Digest> = inputs.iter().map(Input::reference_digest).collect();
    let mut times = [Duration::ZERO; MAX_LANES];
    for lanes in 1..=MAX_LANES {
        let start = Instant::now();
        if compute(&inputs[..lanes]) != expected[..lanes] {
            return Err(Mismatch(lanes));
        }
        times[lanes - 1] = start.elapsed() / (2 << COST);
    }
    // The thread may have lost its core during a measurement. All lanes together take
    // about twice as long as one, so a longer time is an outlier.
    let one_lane = times.into_iter().min().unwrap_or_default();
    let all_lanes = times[MAX_LANES - 1].min(one_lane * 3);
    Ok(ExpansionTimes {
        one_lane,
        all_lanes,
    })
}

fn compute(inputs: &[Input]) -> Vec<Digest> {
    let mut lanes = Lanes::new();
    for input in inputs {
        lanes.add(input);
    }
    lanes.advance(u64::MAX);
    (0..lanes.len()).map(|lane| lanes.digest(lane)).collect()
}

/// Keys of different lengths, up to the longest.
fn input(lane: usize) -> Input {
    let key: Vec<u8> = (0..=11 * lane).map(|at| (37 * at + lane) as u8).collect();
    Input::new(&key, COST, [lane as u8; 16])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_number_of_lanes_is_proven() {
        assert!(prove().is_ok());
    }

    #[test]
    fn a_wrong_bit_is_found_for_every_number_of_lanes() {
        for wrong in 1..=MAX_LANES {
            let found = prove_with(|inputs| {
                let mut digests = compute(inputs);
                if inputs.len() == wrong {
                    digests[wrong - 1].0[22] ^= 1;
                }
                digests
            });
            assert_eq!(found.err(), Some(Mismatch(wrong)));
        }
    }
}
