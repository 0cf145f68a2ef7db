//! The bcrypt function, from a key to a digest: several computations interleaved on one
//! core, and the `bcrypt` crate as the reference for them.

mod blowfish;
mod input;
mod lanes;
mod pi;
mod proof;
#[cfg(test)]
mod tests;

use std::fmt;

use zeroize::Zeroizing;

pub use self::{
    blowfish::MAX_LANES,
    input::{Input, MAX_COST, MAX_KEY_BYTES, MIN_COST},
    lanes::Lanes,
};
pub(crate) use self::{
    input::expansions,
    proof::{ExpansionTimes, prove},
};

/// The 23 bytes of bcrypt's output that stored hashes contain. Wiped when dropped.
///
/// `==` does not run in constant time. To verify a password, compare
/// [`as_bytes`](Self::as_bytes) by a function that does.
#[derive(Clone, PartialEq, Eq)]
pub struct Digest(Zeroizing<[u8; 23]>);

impl Digest {
    /// Drops the last byte of bcrypt's output, which no stored hash contains.
    fn from_output(output: &[u8; 24]) -> Self {
        let mut digest = Zeroizing::new([0; 23]);
        digest.copy_from_slice(&output[..23]);
        Self(digest)
    }

    /// The bytes, before they are encoded in bcrypt's base64.
    pub fn as_bytes(&self) -> &[u8; 23] {
        &self.0
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Digest").finish_non_exhaustive()
    }
}
