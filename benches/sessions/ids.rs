//! The `session_id`s, derived from numbers so that they need not be stored.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use sha2::{Digest as _, Sha256};

/// The length of a `session_id`.
pub const LENGTH: usize = 48;

/// The `session_id` with this number.
pub fn session_id(number: u64) -> [u8; LENGTH] {
    written(Sha256::digest([b"bench", number.to_string().as_bytes()].concat()).as_slice())
}

fn written(secret: &[u8]) -> [u8; LENGTH] {
    let mut text = *b"sess_...........................................";
    URL_SAFE_NO_PAD
        .encode_slice(secret, &mut text[5..])
        .expect("43 characters");
    text
}

/// A fast random number generator, with the same sequence in each run.
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0xA076_1D64_78BD_642F))
    }

    /// SplitMix64.
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// A number below `end`.
    pub fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    /// A well-formed `session_id` without a session.
    pub fn unknown(&mut self) -> [u8; LENGTH] {
        let secret = [self.next(), self.next(), self.next(), self.next()];
        written(secret.map(u64::to_le_bytes).as_flattened())
    }
}
