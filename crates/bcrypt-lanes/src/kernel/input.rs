//! The arguments of one bcrypt computation.

use std::fmt;

use zeroize::Zeroizing;

use super::{Digest, Lanes};

/// The number of key bytes that bcrypt reads.
pub const MAX_KEY_BYTES: usize = 72;

/// The lowest bcrypt cost.
pub const MIN_COST: u32 = 4;

/// The highest bcrypt cost. One hash of this cost takes days of a core, so an application
/// that reads costs from stored hashes needs a lower limit of its own.
pub const MAX_COST: u32 = 31;

/// A key, a salt and a cost. The key is wiped when dropped.
#[derive(Clone)]
pub struct Input {
    /// The key and its terminating NUL, truncated to 72 bytes. Boxed, so that a move does
    /// not leave a copy behind.
    key: Box<Zeroizing<[u8; MAX_KEY_BYTES]>>,
    length: usize,
    salt: [u8; 16],
    cost: u32,
}

/// The number of expansions for a cost: two for each of its 2^cost iterations.
pub(crate) fn expansions(cost: u32) -> u64 {
    2 << cost
}

impl Input {
    /// Appends a NUL to the key, as bcrypt's `2b` variant does, and truncates the result to
    /// [`MAX_KEY_BYTES`]. Longer passwords, and passwords that contain a NUL, need to be
    /// hashed to a shorter key first, or different passwords have the same digest.
    ///
    /// # Panics
    ///
    /// If the cost is not between [`MIN_COST`] and [`MAX_COST`].
    pub fn new(key: &[u8], cost: u32, salt: [u8; 16]) -> Self {
        assert!(
            (MIN_COST..=MAX_COST).contains(&cost),
            "a bcrypt cost of {cost} is not between {MIN_COST} and {MAX_COST}"
        );
        let mut terminated = Box::new(Zeroizing::new([0; MAX_KEY_BYTES]));
        let length = key.len().min(MAX_KEY_BYTES);
        terminated[..length].copy_from_slice(&key[..length]);
        Self {
            key: terminated,
            length: MAX_KEY_BYTES.min(length + 1),
            salt,
            cost,
        }
    }

    /// The number of key expansions, bcrypt's unit of work: two for each of the 2^cost
    /// iterations.
    pub fn expansions(&self) -> u64 {
        expansions(self.cost)
    }

    /// Computes the digest in a single lane. Blocks the calling thread until the end.
    pub fn digest(&self) -> Digest {
        let mut lanes = Lanes::new();
        lanes.add(self);
        lanes.advance(u64::MAX);
        lanes.digest(0)
    }

    /// Computes the digest with the `bcrypt` crate, the reference for the lanes. Blocks the
    /// calling thread until the end.
    pub fn reference_digest(&self) -> Digest {
        let output = Zeroizing::new(bcrypt::bcrypt(self.cost, self.salt, self.key()));
        Digest::from_output(&output)
    }

    /// The key as bcrypt reads it, with its NUL.
    pub(super) fn key(&self) -> &[u8] {
        &self.key[..self.length]
    }

    /// Writes the key and the salt as 18 words each, repeated to fill them.
    pub(super) fn write_words(&self, [key_words, salt_words]: &mut [[u32; 18]; 2]) {
        let mut bytes = self.key().iter().cycle();
        for word in key_words {
            *word = (0..4).fold(0, |word, _| {
                word << 8 | bytes.next().map_or(0, |&byte| u32::from(byte))
            });
        }
        let salt = self.salt.as_chunks::<4>().0;
        for (word, &bytes) in salt_words.iter_mut().zip(salt.iter().cycle()) {
            *word = u32::from_be_bytes(bytes);
        }
    }

    /// Makes the computation panic when it begins.
    #[cfg(test)]
    pub(crate) fn make_panic(&mut self) {
        self.length = MAX_KEY_BYTES + 1;
    }
}

impl fmt::Debug for Input {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Input")
            .field("cost", &self.cost)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[should_panic(expected = "a bcrypt cost of 32 is not between 4 and 31")]
    fn a_cost_out_of_range_panics() {
        Input::new(b"key", 32, [0; 16]);
    }

    #[test]
    fn debug_output_does_not_contain_the_key() {
        let text = format!("{:?}", Input::new(b"secret", 4, [7; 16]));
        assert_eq!(text, "Input { cost: 4, .. }");
    }
}
