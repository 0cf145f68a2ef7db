//! Blowfish's rounds, several independent ones at a time.
//!
//! A round is four table look-ups that wait for the round before: alone, it
//! leaves a core idle most of the time. Side by side, the lanes' rounds fill the
//! gaps of one another.
//!
//! What looks odd here is there for what the compiler makes of it, and was
//! measured (`cargo bench --bench hashing -- engine`); the result does not depend
//! on it. The loops count by hand, since a build for tests calls the functions of an
//! iterator.

use std::sync::atomic::{Ordering, compiler_fence};

use zeroize::Zeroize;

use super::pi;

/// The most lanes of one core: with one more, the state outgrows a first-level
/// cache of 32 KiB, and the gain shrinks.
pub(in crate::passwords) const MAX_LANES: usize = 7;

/// Up to how many lanes the second byte of a round's input is taken out as soon as
/// it is known. That shortens each lane's chain, and costs a register for each.
const MOST_WITH_BYTE_AHEAD: usize = 4;

/// The state of all lanes: 4 KiB and a little for each.
#[repr(C)]
pub(super) struct State {
    /// The half that waits for the next round's output, with that round's subkey
    /// already in. In memory, since there are not registers for all.
    half: [u32; MAX_LANES],
    pub(super) boxes: [[[u32; 256]; 4]; MAX_LANES],
    pub(super) subkeys: [[u32; 18]; MAX_LANES],
    /// Written, never read: see `encrypt`.
    second_byte: [u32; MAX_LANES],
}

impl State {
    pub(super) fn new() -> Self {
        Self {
            half: [0; MAX_LANES],
            boxes: [[[0; 256]; 4]; MAX_LANES],
            subkeys: [[0; 18]; MAX_LANES],
            second_byte: [0; MAX_LANES],
        }
    }

    /// What every computation starts from.
    pub(super) fn reset(&mut self, lane: usize) {
        self.boxes[lane] = pi::BOXES;
        self.subkeys[lane] = pi::SUBKEYS;
    }

    /// Copies what `from` holds to `to`.
    pub(super) fn copy(&mut self, from: usize, to: usize) {
        self.boxes[to] = self.boxes[from];
        self.subkeys[to] = self.subkeys[from];
    }

    /// Leaves nothing of a lane.
    pub(super) fn wipe(&mut self, lane: usize) {
        self.boxes[lane].zeroize();
        self.subkeys[lane].zeroize();
        self.half[lane].zeroize();
        self.second_byte[lane].zeroize();
    }

    #[cfg(test)]
    pub(super) fn is_wiped(&self, lane: usize) -> bool {
        let words = self.boxes[lane].as_flattened().iter();
        let mut words = words.chain(&self.subkeys[lane]);
        words.all(|&word| word == 0) && self.half[lane] == 0 && self.second_byte[lane] == 0
    }

    /// Mixes a key, or a salt as one, into a lane's subkeys.
    pub(super) fn mix(&mut self, lane: usize, words: &[u32; 18]) {
        for (subkey, word) in self.subkeys[lane].iter_mut().zip(words) {
            *subkey ^= word;
        }
    }

    /// Encrypts one block of one lane.
    pub(super) fn encrypt_one(&self, lane: usize, [mut left, mut right]: [u32; 2]) -> [u32; 2] {
        let subkeys = &self.subkeys[lane];
        for pair in subkeys[..16].as_chunks::<2>().0 {
            left ^= pair[0];
            right ^= substitute(&self.boxes[lane], left, left >> 16);
            right ^= pair[1];
            left ^= substitute(&self.boxes[lane], right, right >> 16);
        }
        [right ^ subkeys[17], left ^ subkeys[16]]
    }
}

/// Replaces the subkeys and boxes of the first `N` lanes by what they encrypt to:
/// bcrypt's unit of work, the same for every lane whatever its key, salt and cost.
///
/// On its own, so that what the compiler makes of it does not hang on its callers.
#[inline(never)]
pub(super) fn expand<const N: usize>(state: &mut State) {
    let mut left = [0; N];
    let mut right = [0; N];
    let mut word = 0;
    while word < 18 {
        encrypt(state, &mut left, &mut right);
        let mut lane = 0;
        while lane < N {
            state.subkeys[lane][word] = left[lane];
            state.subkeys[lane][word + 1] = right[lane];
            lane += 1;
        }
        word += 2;
    }
    let mut table = 0;
    while table < 4 {
        let mut word = 0;
        while word < 256 {
            encrypt(state, &mut left, &mut right);
            let mut lane = 0;
            while lane < N {
                state.boxes[lane][table][word] = left[lane];
                state.boxes[lane][table][word + 1] = right[lane];
                lane += 1;
            }
            word += 2;
        }
        table += 1;
    }
}

/// Encrypts one block of each lane.
#[inline(always)]
fn encrypt<const N: usize>(state: &mut State, left: &mut [u32; N], right: &mut [u32; N]) {
    let mut second = [0; N];
    let mut lane = 0;
    while lane < N {
        left[lane] ^= state.subkeys[lane][0];
        state.half[lane] = right[lane] ^ state.subkeys[lane][1];
        if N <= MOST_WITH_BYTE_AHEAD {
            second[lane] = left[lane] >> 16 & 0xff;
            // A use of its own keeps the compiler from taking this byte out only
            // where it is needed, by a longer way.
            state.second_byte[lane] = second[lane];
        }
        lane += 1;
    }
    let mut round = 0;
    while round < 16 {
        let mut lane = 0;
        while lane < N {
            let byte = if N <= MOST_WITH_BYTE_AHEAD {
                second[lane]
            } else {
                left[lane] >> 16
            };
            let next = state.half[lane] ^ substitute(&state.boxes[lane], left[lane], byte);
            state.half[lane] = left[lane] ^ state.subkeys[lane][round + 2];
            left[lane] = next;
            if N <= MOST_WITH_BYTE_AHEAD {
                second[lane] = next >> 16 & 0xff;
            }
            // Without it the compiler takes all lanes' look-ups together, and
            // runs out of registers.
            compiler_fence(Ordering::SeqCst);
            lane += 1;
        }
        round += 1;
    }
    let mut lane = 0;
    while lane < N {
        right[lane] = left[lane];
        left[lane] = state.half[lane];
        lane += 1;
    }
}

/// Blowfish's F of `input`; the lowest byte of `second` is its second highest.
#[inline(always)]
fn substitute(boxes: &[[u32; 256]; 4], input: u32, second: u32) -> u32 {
    let first = boxes[0][(input >> 24) as usize].wrapping_add(boxes[1][(second & 0xff) as usize]);
    (first ^ boxes[2][(input >> 8 & 0xff) as usize]).wrapping_add(boxes[3][(input & 0xff) as usize])
}
