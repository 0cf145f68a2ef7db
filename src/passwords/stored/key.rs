//! The key of bcrypt, derived from a password.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bcrypt_lanes::MAX_KEY_BYTES;
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::{Digest as _, Sha256, Sha384};
use zeroize::Zeroizing;

use super::fields::BCRYPT_BASE64;

/// The derivation of bcrypt's key from a password.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Key {
    /// The password itself.
    Plain,
    /// Base64 of the password's HMAC-SHA256, keyed with the salt's 22 characters (not its
    /// 16 bytes).
    HmacBase64,
    /// Base64 of the password's SHA-256.
    Sha256Base64,
    /// The password's SHA-256 in hexadecimal.
    Sha256Hex,
    /// Base64 of the HMAC-SHA384, keyed with `wp-sha384`, of the password as WordPress reads
    /// it from a form.
    WordPress,
}

/// The characters that PHP's `trim` removes.
const PHP_WHITE_SPACE: [u8; 6] = *b" \t\n\r\0\x0B";

impl Key {
    /// The derivation for new hashes: plain for a password that bcrypt can tell from all
    /// others.
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
            Self::WordPress => {
                let mut mac = Hmac::<Sha384>::new_from_slice(b"wp-sha384")
                    .expect("HMAC takes a key of any length");
                mac.update(&as_read_by_wordpress(password));
                STANDARD.encode(mac.finalize().into_bytes()).into_bytes()
            }
        })
    }

    /// Whether no other password has the same key. If another one has, a hash of the
    /// presented password must not replace the stored one, which matches both.
    pub(super) fn is_exact(self, password: &[u8]) -> bool {
        let has_space = |end: Option<&u8>| end.is_some_and(|byte| PHP_WHITE_SPACE.contains(byte));
        self != Self::WordPress || !(has_space(password.first()) || has_space(password.last()))
    }
}

/// WordPress escapes quotes and backslashes in the fields of a form (`wp_magic_quotes`),
/// reverts that for the name but not for the password (`wp_signon`), and trims the result
/// (`wp_authenticate`, `wp_hash_password`).
fn as_read_by_wordpress(password: &[u8]) -> Zeroizing<Vec<u8>> {
    // With this capacity the vector never grows, which would leave a copy behind.
    let mut slashed = Zeroizing::new(Vec::with_capacity(2 * password.len()));
    for byte in password {
        match byte {
            b'\'' | b'"' | b'\\' => slashed.extend([b'\\', *byte]),
            0 => slashed.extend(b"\\0"),
            _ => slashed.push(*byte),
        }
    }
    let is_space = |byte: &u8| PHP_WHITE_SPACE.contains(byte);
    let end = slashed.iter().rposition(|byte| !is_space(byte));
    slashed.truncate(end.map_or(0, |last| last + 1));
    let start = slashed.iter().position(|byte| !is_space(byte));
    slashed.drain(..start.unwrap_or_default());
    slashed
}

/// Whether a password can be the key itself.
///
/// bcrypt reads 72 bytes, and repeats a shorter key with a NUL in between. Passwords over 72
/// bytes, or with a NUL, would have the same key as other passwords.
pub(super) fn fits_plain(password: &[u8]) -> bool {
    password.len() <= MAX_KEY_BYTES && !password.contains(&0)
}
