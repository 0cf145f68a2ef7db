//! A known answer for each number of lanes, before any password is trusted to
//! them.

use std::time::{Duration, Instant};

use thiserror::Error;

use super::{Digest, Input, Lanes, MAX_LANES, reference};

/// The lowest there is: this is done at every start.
const COST: u32 = 4;

/// The lanes do not compute what the `bcrypt` crate does.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error("bcrypt in {0} lanes is not what the bcrypt crate computes")]
pub(in crate::passwords) struct Mismatch(usize);

/// How long one expansion took, in passing.
#[derive(Clone, Copy, Debug, Default)]
pub(in crate::passwords) struct Pace {
    /// With a lane alone.
    pub(in crate::passwords) alone: Duration,
    /// With all of them.
    pub(in crate::passwords) full: Duration,
}

/// Compares every number of lanes with the `bcrypt` crate.
pub(in crate::passwords) fn prove() -> Result<Pace, Mismatch> {
    prove_with(compute)
}

fn prove_with(compute: impl Fn(&[Input]) -> Vec<Digest>) -> Result<Pace, Mismatch> {
    let inputs: Vec<Input> = (0..MAX_LANES).map(input).collect();
    let expected: Vec<Digest> = inputs.iter().map(reference).collect();
    let mut times = [Duration::ZERO; MAX_LANES];
    for lanes in 1..=MAX_LANES {
        let begun = Instant::now();
        if compute(&inputs[..lanes]) != expected[..lanes] {
            return Err(Mismatch(lanes));
        }
        times[lanes - 1] = begun.elapsed() / (2 << COST);
    }
    // Whatever was held up in between counts for nothing: all lanes take about twice
    // as long as one.
    let alone = times.into_iter().min().unwrap_or_default();
    let full = times[MAX_LANES - 1].min(alone * 3);
    Ok(Pace { alone, full })
}

fn compute(inputs: &[Input]) -> Vec<Digest> {
    let mut lanes = Lanes::new();
    for input in inputs {
        lanes.join(input);
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
    fn the_lanes_are_proven() {
        assert!(prove().is_ok());
    }

    #[test]
    fn a_wrong_bit_is_found_whatever_the_number_of_lanes() {
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
