//! What a bcrypt computation is made from.

use zeroize::Zeroizing;

/// How many bytes of a key bcrypt reads.
pub(in crate::passwords) const MAX_KEY_BYTES: usize = 72;

/// A key, a salt and a cost.
#[derive(Clone)]
pub(in crate::passwords) struct Input {
    /// The key and a NUL, cut to what bcrypt reads. Boxed, so that a move copies none
    /// of it.
    key: Box<Zeroizing<[u8; MAX_KEY_BYTES]>>,
    length: usize,
    pub(super) salt: [u8; 16],
    pub(super) cost: u32,
}

/// How many expansions a cost asks for: two for each of its iterations.
pub(in crate::passwords) fn expansions(cost: u32) -> u64 {
    2 << cost
}

impl Input {
    pub(in crate::passwords) fn new(key: &[u8], cost: u32, salt: [u8; 16]) -> Self {
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

    /// Makes it one that panics as it begins.
    #[cfg(test)]
    pub(in crate::passwords) fn make_panic(&mut self) {
        self.length = MAX_KEY_BYTES + 1;
    }

    /// The key as bcrypt reads it, with its NUL.
    pub(super) fn key(&self) -> &[u8] {
        &self.key[..self.length]
    }

    /// How many expansions the cost asks for: two for each of its iterations.
    pub(in crate::passwords) fn expansions(&self) -> u64 {
        expansions(self.cost)
    }

    /// Writes the key, and the salt, as 18 words each, repeated as often as it takes.
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
}
