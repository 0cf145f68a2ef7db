//! Interleaved computations on one core, each with its own progress.

use std::fmt;

use zeroize::{Zeroize, Zeroizing};

use super::{
    Digest, Input,
    blowfish::{BlowfishLanes, MAX_LANES, expand},
};

/// "OrpheanBeholderScryDoubt", the text that bcrypt encrypts 64 times at the end.
const MAGIC: [[u32; 2]; 3] = [
    [0x4f72_7068, 0x6561_6e42],
    [0x6568_6f6c, 0x6465_7253],
    [0x6372_7944, 0x6f75_6274],
];

/// Up to [`MAX_LANES`] bcrypt computations that one thread advances together. A lane is
/// wiped when its computation is removed.
///
/// The lanes in use are numbered from 0 without gaps. Computations of different costs, keys
/// and salts may be added and removed at any time.
///
/// ```
/// use bcrypt_lanes::{Input, Lanes};
///
/// let inputs = [b"first", b"other"].map(|key| Input::new(key, 4, [7; 16]));
/// let mut lanes = Lanes::new();
/// for input in &inputs {
///     lanes.add(input);
/// }
/// lanes.advance(u64::MAX);
/// for (lane, input) in inputs.iter().enumerate() {
///     assert_eq!(lanes.digest(lane), input.reference_digest());
/// }
/// ```
pub struct Lanes {
    blowfish: Box<BlowfishLanes>,
    /// One for each lane in use, which are the first lanes of `blowfish`.
    lanes: Vec<Lane>,
}

/// The progress of one computation.
struct Lane {
    /// The words of the key, then of the salt, which are mixed in alternately.
    /// Boxed, so that a move does not leave a copy behind.
    words: Box<Zeroizing<[[u32; 18]; 2]>>,
    /// The number of remaining expansions. For an even number the key is next.
    remaining: u64,
}

impl Lanes {
    /// All lanes free.
    pub fn new() -> Self {
        Self {
            blowfish: Box::new(BlowfishLanes::new()),
            lanes: Vec::with_capacity(MAX_LANES),
        }
    }

    /// The number of lanes in use.
    pub fn len(&self) -> usize {
        self.lanes.len()
    }

    /// Whether no lane is in use.
    pub fn is_empty(&self) -> bool {
        self.lanes.is_empty()
    }

    /// Begins a computation in the next free lane, whose number is the previous
    /// [`len`](Self::len).
    ///
    /// # Panics
    ///
    /// If all [`MAX_LANES`] lanes are in use.
    pub fn add(&mut self, input: &Input) {
        let lane = self.lanes.len();
        assert!(lane < MAX_LANES, "all lanes are in use");
        let mut words = Box::new(Zeroizing::new([[0; 18]; 2]));
        input.write_words(&mut words);
        let remaining = input.expansions();
        self.blowfish.reset(lane);
        self.expand_with_salt(lane, &words);
        self.lanes.push(Lane { words, remaining });
    }

    /// bcrypt's first expansion, the only one whose blocks are mixed with the salt.
    fn expand_with_salt(&mut self, lane: usize, [key, salt]: &[[u32; 18]; 2]) {
        self.blowfish.mix(lane, key);
        let halves = [[salt[0], salt[1]], [salt[2], salt[3]]];
        let mut halves = halves.iter().cycle();
        let mut block = [0; 2];
        let mut next = |blowfish: &BlowfishLanes| {
            for (word, salt) in block.iter_mut().zip(halves.next().into_iter().flatten()) {
                *word ^= salt;
            }
            block = blowfish.encrypt_one(lane, block);
            block
        };
        for pair in 0..9 {
            let block = next(&self.blowfish);
            self.blowfish.subkeys[lane][2 * pair..][..2].copy_from_slice(&block);
        }
        for table in 0..4 {
            for pair in 0..128 {
                let block = next(&self.blowfish);
                self.blowfish.boxes[lane][table][2 * pair..][..2].copy_from_slice(&block);
            }
        }
        block.zeroize();
    }

    /// Advances every lane by the same number of expansions: `at_most`, or fewer where a
    /// computation ends earlier. Returns that number; 0 if a computation has ended and was
    /// not removed.
    pub fn advance(&mut self, at_most: u64) -> u64 {
        let steps = self.lanes.iter().map(|lane| lane.remaining).min();
        let steps = steps.unwrap_or(0).min(at_most);
        for _ in 0..steps {
            self.step();
        }
        steps
    }

    fn step(&mut self) {
        for (index, lane) in self.lanes.iter_mut().enumerate() {
            let key_or_salt = usize::from(lane.remaining % 2 == 1);
            self.blowfish.mix(index, &lane.words[key_or_salt]);
            lane.remaining -= 1;
        }
        // One loop for each number of lanes; `MAX_LANES` is the last.
        match self.lanes.len() {
            1 => expand::<1>(&mut self.blowfish),
            2 => expand::<2>(&mut self.blowfish),
            3 => expand::<3>(&mut self.blowfish),
            4 => expand::<4>(&mut self.blowfish),
            5 => expand::<5>(&mut self.blowfish),
            6 => expand::<6>(&mut self.blowfish),
            _ => expand::<MAX_LANES>(&mut self.blowfish),
        }
    }

    /// The number of expansions until a computation has ended.
    ///
    /// # Panics
    ///
    /// If the lane is not in use.
    pub fn remaining(&self, lane: usize) -> u64 {
        self.lanes[lane].remaining
    }

    /// Removes a computation, whether it has ended or not. The computation of the last lane
    /// moves to this one.
    ///
    /// # Panics
    ///
    /// If the lane is not in use.
    pub fn remove(&mut self, lane: usize) {
        let last = self.lanes.len() - 1;
        self.lanes.swap_remove(lane);
        if lane != last {
            self.blowfish.copy(last, lane);
        }
        self.blowfish.wipe(last);
    }

    /// The digest of an ended computation.
    ///
    /// # Panics
    ///
    /// If the lane is not in use, or its computation has expansions
    /// [remaining](Self::remaining).
    pub fn digest(&self, lane: usize) -> Digest {
        assert_eq!(self.remaining(lane), 0, "the computation has not ended");
        let mut output = Zeroizing::new([0; 24]);
        for (mut block, bytes) in MAGIC.into_iter().zip(output.as_chunks_mut::<8>().0) {
            for _ in 0..64 {
                block = self.blowfish.encrypt_one(lane, block);
            }
            bytes[..4].copy_from_slice(&block[0].to_be_bytes());
            bytes[4..].copy_from_slice(&block[1].to_be_bytes());
        }
        Digest::from_output(&output)
    }
}

#[cfg(test)]
impl Lanes {
    /// Whether no lane contains a trace of a computation.
    pub(super) fn is_wiped(&self) -> bool {
        (0..MAX_LANES).all(|lane| self.blowfish.is_wiped(lane))
    }
}

impl Default for Lanes {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Lanes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let remaining = self.lanes.iter().map(|lane| lane.remaining);
        f.debug_struct("Lanes")
            .field("remaining", &remaining.collect::<Vec<_>>())
            .finish_non_exhaustive()
    }
}

impl Drop for Lanes {
    fn drop(&mut self) {
        for lane in 0..MAX_LANES {
            self.blowfish.wipe(lane);
        }
    }
}
