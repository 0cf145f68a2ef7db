//! Computations side by side on one core, each at its own point.

use zeroize::{Zeroize, Zeroizing};

use super::{
    Digest, Input,
    rounds::{MAX_LANES, State, expand},
};

/// "OrpheanBeholderScryDoubt", which bcrypt encrypts 64 times in the end.
const MAGIC: [[u32; 2]; 3] = [
    [0x4f72_7068, 0x6561_6e42],
    [0x6568_6f6c, 0x6465_7253],
    [0x6372_7944, 0x6f75_6274],
];

/// Up to [`MAX_LANES`] computations that go forward together. Nothing of one is
/// left when it has ended.
pub(in crate::passwords) struct Lanes {
    state: Box<State>,
    /// One for each lane in use; these are the first ones of the state.
    lanes: Vec<Lane>,
}

/// Where one computation stands.
struct Lane {
    /// Mixed in by turns: the key's words, then the salt's.
    /// Boxed, so that a move copies none of them.
    words: Box<Zeroizing<[[u32; 18]; 2]>>,
    /// Expansions to go. An even number is the key's turn.
    to_go: u64,
}

impl Lanes {
    pub(in crate::passwords) fn new() -> Self {
        Self {
            state: Box::new(State::new()),
            lanes: Vec::with_capacity(MAX_LANES),
        }
    }

    /// How many are under way.
    pub(in crate::passwords) fn len(&self) -> usize {
        self.lanes.len()
    }

    /// Begins a computation in the next lane, which has to be there.
    pub(in crate::passwords) fn join(&mut self, input: &Input) {
        let lane = self.lanes.len();
        let mut words = Box::new(Zeroizing::new([[0; 18]; 2]));
        input.write_words(&mut words);
        let to_go = input.expansions();
        self.state.reset(lane);
        self.expand_with_salt(lane, &words);
        self.lanes.push(Lane { words, to_go });
    }

    /// bcrypt's first expansion, the only one whose blocks are mixed with the salt.
    fn expand_with_salt(&mut self, lane: usize, [key, salt]: &[[u32; 18]; 2]) {
        self.state.mix(lane, key);
        let halves = [[salt[0], salt[1]], [salt[2], salt[3]]];
        let mut halves = halves.iter().cycle();
        let mut block = [0; 2];
        let mut next = |state: &State| {
            for (word, salt) in block.iter_mut().zip(halves.next().into_iter().flatten()) {
                *word ^= salt;
            }
            block = state.encrypt_one(lane, block);
            block
        };
        for pair in 0..9 {
            let block = next(&self.state);
            self.state.subkeys[lane][2 * pair..][..2].copy_from_slice(&block);
        }
        for table in 0..4 {
            for pair in 0..128 {
                let block = next(&self.state);
                self.state.boxes[lane][table][2 * pair..][..2].copy_from_slice(&block);
            }
        }
        block.zeroize();
    }

    /// Takes every lane forward by as many expansions, or fewer: not past the end of
    /// any. Returns by how many.
    pub(in crate::passwords) fn advance(&mut self, at_most: u64) -> u64 {
        let steps = self.lanes.iter().map(|lane| lane.to_go).min();
        let steps = steps.unwrap_or(0).min(at_most);
        for _ in 0..steps {
            self.step();
        }
        steps
    }

    fn step(&mut self) {
        for (index, lane) in self.lanes.iter_mut().enumerate() {
            let turn = usize::from(lane.to_go % 2 == 1);
            self.state.mix(index, &lane.words[turn]);
            lane.to_go -= 1;
        }
        // One loop for each number of lanes; `MAX_LANES` is the last.
        match self.lanes.len() {
            1 => expand::<1>(&mut self.state),
            2 => expand::<2>(&mut self.state),
            3 => expand::<3>(&mut self.state),
            4 => expand::<4>(&mut self.state),
            5 => expand::<5>(&mut self.state),
            6 => expand::<6>(&mut self.state),
            _ => expand::<MAX_LANES>(&mut self.state),
        }
    }

    /// Expansions to go.
    pub(in crate::passwords) fn to_go(&self, lane: usize) -> u64 {
        self.lanes[lane].to_go
    }

    /// Ends a computation. The last lane takes its place, so that those in use
    /// stay together.
    pub(in crate::passwords) fn leave(&mut self, lane: usize) {
        let last = self.lanes.len() - 1;
        self.lanes.swap_remove(lane);
        if lane != last {
            self.state.copy(last, lane);
        }
        self.state.wipe(last);
    }

    /// The digest of a computation with no expansions to go.
    pub(in crate::passwords) fn digest(&self, lane: usize) -> Digest {
        let mut output = Zeroizing::new([0; 24]);
        for (mut block, bytes) in MAGIC.into_iter().zip(output.as_chunks_mut::<8>().0) {
            for _ in 0..64 {
                block = self.state.encrypt_one(lane, block);
            }
            bytes[..4].copy_from_slice(&block[0].to_be_bytes());
            bytes[4..].copy_from_slice(&block[1].to_be_bytes());
        }
        Digest::of_output(&output)
    }
}

#[cfg(test)]
impl Lanes {
    /// Whether nothing of anybody is left.
    pub(super) fn is_wiped(&self) -> bool {
        (0..MAX_LANES).all(|lane| self.state.is_wiped(lane))
    }
}

impl Drop for Lanes {
    fn drop(&mut self) {
        for lane in 0..MAX_LANES {
            self.state.wipe(lane);
        }
    }
}
