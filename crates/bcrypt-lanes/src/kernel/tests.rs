//! The lanes compute the digests of the `bcrypt` crate, bit for bit.

use std::{ops::Range, thread};

use proptest::prelude::*;
use sha2::{Digest as _, Sha256};

use super::{Digest, Input, Lanes, MAX_LANES};
use crate::ALL_CORES;

/// The number of pairs of a password and a salt for each lane: a test of one lane computes
/// this many, a test of two lanes twice as many, and so on.
const PAIRS_PER_LANE: u64 = 3_600;

/// SHA-256 of the concatenated digests of all pairs, as computed by the `bcrypt` crate,
/// which takes minutes of a core. Printed by
/// `cargo test --release -p bcrypt-lanes print_the_reference -- --ignored --nocapture`.
const REFERENCE: &str = "e4923f4eb97528b951a8088a94d184bca9d30bd262fdfd48c9ef98d1782ee751";

/// SplitMix64. A failure can be repeated from its seed.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = self.0;
        word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        word ^ (word >> 31)
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }
}

/// The pair of a number. Most pairs have the lowest cost.
fn pair(number: u64) -> Input {
    let mut random = Random(number);
    let length = random.below(80) as usize;
    let key: Vec<u8> = (0..length).map(|_| random.next() as u8).collect();
    let salt = [(); 16].map(|()| random.next() as u8);
    let cost = match random.below(64) {
        0 => 6,
        1 | 2 => 5,
        _ => 4,
    };
    Input::new(&key, cost, salt)
}

/// The numbers of the pairs that are computed in this number of lanes.
fn pairs_of(lanes: usize) -> Range<u64> {
    let before: usize = (1..lanes).sum();
    let first = before as u64 * PAIRS_PER_LANE;
    first..first + lanes as u64 * PAIRS_PER_LANE
}

/// Computes pairs in up to `most_lanes` lanes. Computations begin at random points, advance
/// by random numbers of expansions, and some are removed half way and begin again.
fn in_lanes(most_lanes: usize, pairs: Range<u64>) -> Vec<Digest> {
    let mut random = Random(pairs.start);
    let first = pairs.start;
    let mut digests = vec![None; (pairs.end - first) as usize];
    let mut waiting: Vec<u64> = pairs.collect();
    let mut lanes = Lanes::new();
    let mut in_lane: Vec<u64> = Vec::new();
    while !(waiting.is_empty() && in_lane.is_empty()) {
        while lanes.len() < most_lanes && (lanes.is_empty() || random.below(8) > 0) {
            let Some(number) = waiting.pop() else { break };
            lanes.add(&pair(number));
            in_lane.push(number);
        }
        lanes.advance(1 + random.below(40));
        for lane in (0..lanes.len()).rev() {
            let number = in_lane[lane];
            if lanes.remaining(lane) == 0 {
                digests[(number - first) as usize] = Some(lanes.digest(lane));
            } else if random.below(100) == 0 {
                waiting.push(number);
            } else {
                continue;
            }
            lanes.remove(lane);
            in_lane.swap_remove(lane);
        }
    }
    digests.into_iter().flatten().collect()
}

/// Every number of lanes, shared among the cores.
fn all_pairs(compute: impl Fn(usize, Range<u64>) -> Vec<Digest> + Sync) -> Vec<Digest> {
    let cores = thread::available_parallelism().map_or(1, |cores| cores.get() as u64);
    let mut all = Vec::new();
    for lanes in 1..=MAX_LANES {
        let Range { start, end } = pairs_of(lanes);
        let part = |core| start + (end - start) * core / cores;
        thread::scope(|scope| {
            let compute = &compute;
            let parts = (0..cores).map(|core| part(core)..part(core + 1));
            let parts: Vec<_> = parts
                .map(|part| scope.spawn(move || compute(lanes, part)))
                .collect();
            for part in parts {
                all.extend(part.join().unwrap());
            }
        });
    }
    all
}

fn sha256(digests: &[Digest]) -> String {
    let mut hash = Sha256::new();
    for digest in digests {
        hash.update(digest.as_bytes());
    }
    let mut digits = [0; 64];
    base16ct::lower::encode_str(&hash.finalize(), &mut digits)
        .unwrap()
        .to_owned()
}

#[test]
fn a_hundred_thousand_pairs_in_every_number_of_lanes() {
    let _all_cores = ALL_CORES.blocking_lock();
    let digests = all_pairs(in_lanes);
    assert!(digests.len() >= 100_000);
    if sha256(&digests) == REFERENCE {
        return;
    }
    for (number, digest) in (0..).zip(&digests) {
        let is_equal = *digest == pair(number).reference_digest();
        assert!(is_equal, "pair {number} differs from the bcrypt crate");
    }
    panic!("all digests are the bcrypt crate's, and REFERENCE is not their hash");
}

#[test]
#[ignore = "prints the value of REFERENCE"]
fn print_the_reference() {
    let digests = all_pairs(|_, pairs| {
        pairs
            .map(|number| pair(number).reference_digest())
            .collect()
    });
    println!("{}", sha256(&digests));
}

#[test]
fn every_length_and_every_byte() {
    let mut inputs: Vec<Input> = (0..=90)
        .map(|length| Input::new(&vec![b'x'; length], 4, [length as u8; 16]))
        .collect();
    for byte in 0..=255 {
        inputs.push(Input::new(&[byte], 4, [byte; 16]));
        inputs.push(Input::new(&[b'a', byte, b'b'], 4, [!byte; 16]));
        inputs.push(Input::new(&[byte; 72], 4, [7; 16]));
    }
    for group in inputs.chunks(MAX_LANES) {
        let mut lanes = Lanes::new();
        for input in group {
            lanes.add(input);
        }
        lanes.advance(u64::MAX);
        for (lane, input) in group.iter().enumerate() {
            let expected = input.reference_digest();
            assert!(lanes.digest(lane) == expected, "{:?}", input.key());
        }
    }
}

#[test]
fn a_removed_computation_leaves_no_trace() {
    let mut lanes = Lanes::new();
    lanes.add(&pair(1));
    lanes.add(&pair(2));
    lanes.advance(3);
    lanes.remove(0);
    // The other computation has moved there and is not disturbed.
    lanes.advance(u64::MAX);
    assert!(lanes.digest(0) == pair(2).reference_digest());
    lanes.remove(0);
    assert!(lanes.is_wiped());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn any_key_is_read_as_the_bcrypt_crate_reads_it(
        key in proptest::collection::vec(any::<u8>(), 0..100),
        salt in any::<[u8; 16]>(),
    ) {
        let input = Input::new(&key, 4, salt);
        prop_assert!(input.digest() == input.reference_digest());
    }
}
