//! From a password to bcrypt's key.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::{Digest as _, Sha256, Sha384};
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
    /// Base64 of its HMAC-SHA384, keyed with `wp-sha384`, of the password as WordPress has
    /// it when a form was sent.
    WordPress,
}

/// What PHP's `trim` takes off.
const PHP_WHITE_SPACE: [u8; 6] = *b" \t\n\r\0\x0B";

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
            Self::WordPress => {
                let mut mac = Hmac::<Sha384>::new_from_slice(b"wp-sha384")
                    .expect("HMAC takes a key of any length");
                mac.update(&as_wordpress_has_it(password));
                STANDARD.encode(mac.finalize().into_bytes()).into_bytes()
            }
        })
    }

    /// Whether this key tells the password from every other one. Where it does not, a hash
    /// of the password as presented must not replace the stored one, which is good for the
    /// others too.
    pub(super) fn is_exact(self, password: &[u8]) -> bool {
        let has_space = |end: Option<&u8>| end.is_some_and(|byte| PHP_WHITE_SPACE.contains(byte));
        self != Self::WordPress || !(has_space(password.first()) || has_space(password.last()))
    }
}

/// WordPress puts a backslash before quotes and backslashes of every field of a form
/// (`wp_magic_quotes`), takes them away again from the name but not from the password
/// (`wp_signon`), and trims what is left (`wp_authenticate`, `wp_hash_password`).
fn as_wordpress_has_it(password: &[u8]) -> Zeroizing<Vec<u8>> {
    // A vector that grows would leave copies behind.
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
/// bcrypt reads 72 bytes and repeats the key with a NUL between: beyond 72
/// bytes, or with a NUL inside, different passwords would be the same key.
pub(super) fn fits_plain(password: &[u8]) -> bool {
    password.len() <= MAX_KEY_BYTES && !password.contains(&0)
}
