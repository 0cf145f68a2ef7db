//! The lanes against the `bcrypt` crate, bit for bit.

use std::{ops::Range, thread};

use proptest::prelude::*;
use sha2::{Digest as _, Sha256};

use super::{Digest, Input, Lanes, MAX_LANES, alone, reference};
use crate::passwords::ALL_CORES;

/// How many pairs of a password and a salt there are for each lane: one lane alone
/// computes so many, two twice that, and so on.
const PAIRS_A_LANE: u64 = 3_600;

/// SHA-256 of what the `bcrypt` crate computes for all of them, one digest after the
/// other: to compute that takes minutes of a core, and this many times less. Printed
/// by `cargo test --release what_the_crate_computes -- --ignored --nocapture`.
const COMPUTED_BY_THE_CRATE: &str =
    "e4923f4eb97528b951a8088a94d184bca9d30bd262fdfd48c9ef98d1782ee751";

/// SplitMix64: whatever fails can be repeated from its seed.
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

/// A pair by its number: of the lowest cost, but for a few among them.
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

/// The pairs that go through so many lanes at once.
fn pairs_of(lanes: usize) -> Range<u64> {
    let before: usize = (1..lanes).sum();
    let first = before as u64 * PAIRS_A_LANE;
    first..first + lanes as u64 * PAIRS_A_LANE
}

/// Computes pairs in up to so many lanes. They join at random points, go on by a
/// random number of expansions, and some leave half way and begin anew.
fn in_lanes(most_lanes: usize, pairs: Range<u64>) -> Vec<Digest> {
    let mut random = Random(pairs.start);
    let first = pairs.start;
    let mut digests = vec![None; (pairs.end - first) as usize];
    let mut waiting: Vec<u64> = pairs.collect();
    let mut lanes = Lanes::new();
    let mut in_lane: Vec<u64> = Vec::new();
    while !(waiting.is_empty() && in_lane.is_empty()) {
        while lanes.len() < most_lanes && (lanes.len() == 0 || random.below(8) > 0) {
            let Some(number) = waiting.pop() else { break };
            lanes.join(&pair(number));
            in_lane.push(number);
        }
        lanes.advance(1 + random.below(40));
        for lane in (0..lanes.len()).rev() {
            let number = in_lane[lane];
            if lanes.to_go(lane) == 0 {
                digests[(number - first) as usize] = Some(lanes.digest(lane));
            } else if random.below(100) == 0 {
                waiting.push(number);
            } else {
                continue;
            }
            lanes.leave(lane);
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
    let _alone = ALL_CORES.blocking_lock();
    let digests = all_pairs(in_lanes);
    assert!(digests.len() >= 100_000);
    if sha256(&digests) == COMPUTED_BY_THE_CRATE {
        return;
    }
    for (number, digest) in (0..).zip(&digests) {
        let is_equal = *digest == reference(&pair(number));
        assert!(is_equal, "pair {number} is not what the crate computes");
    }
    panic!("all are what the crate computes, but not what was written down");
}

#[test]
#[ignore = "computes what is written down above"]
fn what_the_crate_computes() {
    let digests = all_pairs(|_, pairs| pairs.map(|number| reference(&pair(number))).collect());
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
            lanes.join(input);
        }
        lanes.advance(u64::MAX);
        for (lane, input) in group.iter().enumerate() {
            assert!(lanes.digest(lane) == reference(input), "{:?}", input.key());
        }
    }
}

#[test]
fn nothing_is_left_of_who_has_left() {
    let mut lanes = Lanes::new();
    lanes.join(&pair(1));
    lanes.join(&pair(2));
    lanes.advance(3);
    lanes.leave(0);
    // The other one has moved there, and is not disturbed.
    lanes.advance(u64::MAX);
    assert!(lanes.digest(0) == reference(&pair(2)));
    lanes.leave(0);
    assert!(lanes.is_wiped());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn any_key_is_read_as_the_crate_reads_it(
        key in proptest::collection::vec(any::<u8>(), 0..100),
        salt in any::<[u8; 16]>(),
    ) {
        let input = Input::new(&key, 4, salt);
        prop_assert!(alone(&input) == reference(&input));
    }
}
