//! Blowfish's rounds, for several independent lanes at a time.
//!
//! A round is four table look-ups that depend on the previous round, so a single
//! computation leaves a core idle most of the time. Interleaved, the rounds of each lane
//! fill the gaps of the others.
//!
//! The unusual constructs here steer the compiler and were measured
//! (`cargo bench -p bcrypt-lanes`); the result does not depend on them. The loops use
//! counters, since unoptimised builds call the functions of an iterator.

use std::sync::atomic::{Ordering, compiler_fence};

use zeroize::Zeroize;

use super::pi;

/// The most lanes on one core. The state of one more would outgrow a first-level cache of
/// 32 KiB, and the gain would shrink.
pub const MAX_LANES: usize = 7;

/// Up to this number of lanes, the second byte of a round's input is extracted as soon as
/// it is known. That shortens the dependency chain, and takes a register for each lane.
const MAX_LANES_WITH_EARLY_BYTE: usize = 4;

/// The Blowfish state of all lanes, slightly more than 4 KiB each.
#[repr(C)]
pub(super) struct BlowfishLanes {
    /// The half of each block that the next round's output is combined with, already
    /// combined with that round's subkey. In memory, since the registers do not suffice.
    half: [u32; MAX_LANES],
    pub(super) boxes: [[[u32; 256]; 4]; MAX_LANES],
    pub(super) subkeys: [[u32; 18]; MAX_LANES],
    /// Written and never read; see `encrypt`.
    second_byte: [u32; MAX_LANES],
}

impl BlowfishLanes {
    pub(super) fn new() -> Self {
        Self {
            half: [0; MAX_LANES],
            boxes: [[[0; 256]; 4]; MAX_LANES],
            subkeys: [[0; 18]; MAX_LANES],
            second_byte: [0; MAX_LANES],
        }
    }

    /// Sets a lane to Blowfish's initial state.
    pub(super) fn reset(&mut self, lane: usize) {
        self.boxes[lane] = pi::BOXES;
        self.subkeys[lane] = pi::SUBKEYS;
    }

    /// Copies the subkeys and boxes of one lane to another.
    pub(super) fn copy(&mut self, from: usize, to: usize) {
        self.boxes[to] = self.boxes[from];
        self.subkeys[to] = self.subkeys[from];
    }

    /// Overwrites a lane with zeros.
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

    /// XORs the words of a key, or of a salt, into a lane's subkeys.
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

/// Replaces the subkeys and boxes of the first `N` lanes with the output of encryption:
/// bcrypt's unit of work, the same for each lane regardless of key, salt and cost.
///
/// Not inlined, so that the generated code does not depend on the callers.
#[inline(never)]
pub(super) fn expand<const N: usize>(state: &mut BlowfishLanes) {
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
fn encrypt<const N: usize>(state: &mut BlowfishLanes, left: &mut [u32; N], right: &mut [u32; N]) {
    let mut second = [0; N];
    let mut lane = 0;
    while lane < N {
        left[lane] ^= state.subkeys[lane][0];
        state.half[lane] = right[lane] ^ state.subkeys[lane][1];
        if N <= MAX_LANES_WITH_EARLY_BYTE {
            second[lane] = left[lane] >> 16 & 0xff;
            // This store keeps the compiler from moving the extraction to the use of the
            // byte, where it lengthens the dependency chain.
            state.second_byte[lane] = second[lane];
        }
        lane += 1;
    }
    let mut round = 0;
    while round < 16 {
        let mut lane = 0;
        while lane < N {
            let byte = if N <= MAX_LANES_WITH_EARLY_BYTE {
                second[lane]
            } else {
                left[lane] >> 16
            };
            let next = state.half[lane] ^ substitute(&state.boxes[lane], left[lane], byte);
            state.half[lane] = left[lane] ^ state.subkeys[lane][round + 2];
            left[lane] = next;
            if N <= MAX_LANES_WITH_EARLY_BYTE {
                second[lane] = next >> 16 & 0xff;
            }
            // Without the fence, the compiler groups the look-ups of all lanes and runs
            // out of registers.
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

/// Blowfish's F of `input`. The lowest byte of `second` is the second highest byte of
/// `input`.
#[inline(always)]
fn substitute(boxes: &[[u32; 256]; 4], input: u32, second: u32) -> u32 {
    let first = boxes[0][(input >> 24) as usize].wrapping_add(boxes[1][(second & 0xff) as usize]);
    (first ^ boxes[2][(input >> 8 & 0xff) as usize]).wrapping_add(boxes[3][(input & 0xff) as usize])
}
