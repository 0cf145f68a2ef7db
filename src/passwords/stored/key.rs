//! From a password to bcrypt's key.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

use super::fields::BCRYPT_BASE64;
use crate::passwords::kernel::MAX_KEY_BYTES;

/// How a password becomes bcrypt's key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Key {
    /// It is the key.
    Plain,
    /// Base64 of its HMAC-SHA256, keyed with the salt's 22 characters (not its
    /// 16 bytes).
    HmacBase64,
    /// Base64 of its SHA-256.
    Sha256Base64,
    /// Hexadecimal of its SHA-256.
    Sha256Hex,
}

impl Key {
    /// The one to store with: plain where bcrypt can tell the password from every
    /// other one.
    pub(super) fn for_password(password: &[u8]) -> Self {
        if fits_plain(password) {
            Self::Plain
        } else {
            Self::HmacBase64
        }
    }

    pub(super) fn of(self, password: &[u8], salt: [u8; 16]) -> Zeroizing<Vec<u8>> {
        Zeroizing::new(match self {
            Self::Plain => password.to_owned(),
            Self::HmacBase64 => {
                let mut mac = Hmac::<Sha256>::new_from_slice(BCRYPT_BASE64.encode(salt).as_bytes())
                    .expect("HMAC takes a key of any length");
                mac.update(password);
                STANDARD.encode(mac.finalize().into_bytes()).into_bytes()
            }
            Self::Sha256Base64 => STANDARD.encode(Sha256::digest(password)).into_bytes(),
            Self::Sha256Hex => {
                let mut digits = vec![0; 64];
                base16ct::lower::encode(&Sha256::digest(password), &mut digits)
                    .expect("64 digits hold a SHA-256");
                digits
            }
        })
    }
}

/// Whether a password can be the key itself.
///
/// bcrypt reads 72 bytes and repeats the key with a NUL between: beyond 72
/// bytes, or with a NUL inside, different passwords would be the same key.
pub(super) fn fits_plain(password: &[u8]) -> bool {
    password.len() <= MAX_KEY_BYTES && !password.contains(&0)
}
