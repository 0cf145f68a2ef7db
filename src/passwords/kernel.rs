//! The bcrypt function itself, from a key to a digest.

use zeroize::Zeroizing;

/// How many bytes of a key bcrypt reads.
pub(super) const MAX_KEY_BYTES: usize = 72;

/// bcrypt's digest of a key's first 72 bytes and its terminating NUL.
pub(super) fn bcrypt(key: &[u8], cost: u32, salt: [u8; 16]) -> Zeroizing<[u8; 23]> {
    let mut terminated = Zeroizing::new([0; MAX_KEY_BYTES]);
    let length = key.len().min(MAX_KEY_BYTES);
    terminated[..length].copy_from_slice(&key[..length]);
    let output = Zeroizing::new(bcrypt::bcrypt(
        cost,
        salt,
        &terminated[..MAX_KEY_BYTES.min(length + 1)],
    ));
    // The last byte of the output is left out of every stored hash.
    let mut digest = Zeroizing::new([0; 23]);
    digest.copy_from_slice(&output[..23]);
    digest
}
