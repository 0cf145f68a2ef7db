//! The bcrypt function itself, from a key to a digest: several at a time on one
//! core, and the `bcrypt` crate's to prove it by.

#[cfg(test)]
mod equality;
mod input;
mod lanes;
mod pi;
mod proof;
mod reference;
mod rounds;

use zeroize::Zeroizing;

pub(super) use self::{
    input::{Input, MAX_KEY_BYTES, expansions},
    lanes::Lanes,
    proof::{Pace, prove},
    reference::bcrypt as reference,
    rounds::MAX_LANES,
};

/// What a computation comes to.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Digest(Zeroizing<[u8; 23]>);

impl Digest {
    /// The last byte of bcrypt's output is left out of every stored hash.
    fn of_output(output: &[u8; 24]) -> Self {
        let mut digest = Zeroizing::new([0; 23]);
        digest.copy_from_slice(&output[..23]);
        Self(digest)
    }

    pub(super) fn as_bytes(&self) -> &[u8; 23] {
        &self.0
    }
}

/// One digest, in a lane of its own.
#[cfg(test)]
pub(super) fn alone(input: &Input) -> Digest {
    let mut lanes = Lanes::new();
    lanes.join(input);
    lanes.advance(u64::MAX);
    lanes.digest(0)
}
