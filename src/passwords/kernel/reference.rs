//! bcrypt by the `bcrypt` crate: what the lanes are proven against, and what
//! hashes in their place should they ever be wrong.

use zeroize::Zeroizing;

use super::{Digest, Input};

/// One digest, computed at one go.
pub(in crate::passwords) fn bcrypt(input: &Input) -> Digest {
    let output = Zeroizing::new(bcrypt::bcrypt(input.cost, input.salt, input.key()));
    Digest::of_output(&output)
}
