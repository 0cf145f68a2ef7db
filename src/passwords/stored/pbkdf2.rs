//! PBKDF2 with HMAC-SHA256:
//!
//! - `pbkdf2:sha256:<iterations>$<salt>$<digest in hexadecimal>`, Werkzeug's;
//! - `pbkdf2_sha256$<iterations>$<salt>$<digest in base64>`, Django's.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use pbkdf2::pbkdf2_hmac;
use sha2::Sha256;
use subtle::ConstantTimeEq as _;
use zeroize::Zeroizing;

use super::{
    UnreadableHash,
    fields::{hex, number, split, text_salt},
    limits::MAX_ITERATIONS,
};

/// What a hash of this family begins with.
pub(super) const PREFIXES: [&str; 2] = [WERKZEUG, DJANGO];
const WERKZEUG: &str = "pbkdf2:sha256:";
const DJANGO: &str = "pbkdf2_sha256$";

/// A hash, taken apart.
pub(in crate::passwords) struct Pbkdf2Hash {
    iterations: u32,
    salt: Vec<u8>,
    digest: [u8; 32],
}

impl Pbkdf2Hash {
    pub(super) fn parse(stored: &str) -> Result<Self, UnreadableHash> {
        let (iterations, salt, digest) = if let Some(rest) = stored.strip_prefix(WERKZEUG) {
            let [iterations, salt, digest] = split(rest, '$')?;
            (iterations, salt, hex(digest)?)
        } else {
            let rest = stored.strip_prefix(DJANGO).ok_or(UnreadableHash::Format)?;
            let [iterations, salt, digest] = split(rest, '$')?;
            (iterations, salt, base64(digest)?)
        };
        let (iterations, salt) = (number(iterations)?, text_salt(salt)?);
        if !(1..=MAX_ITERATIONS).contains(&iterations) {
            return Err(UnreadableHash::Iterations(iterations));
        }
        Ok(Self {
            iterations,
            salt,
            digest,
        })
    }

    pub(super) fn matches(&self, password: &[u8]) -> bool {
        let mut computed = Zeroizing::new([0; 32]);
        pbkdf2_hmac::<Sha256>(password, &self.salt, self.iterations, computed.as_mut());
        bool::from(self.digest.ct_eq(computed.as_ref())) && fits_hmac(password)
    }
}

/// HMAC fills its key up with NULs, so a password and the same with a NUL after
/// it would be the same key. What ends in one never matches.
pub(super) fn fits_hmac(password: &[u8]) -> bool {
    !password.ends_with(&[0])
}

fn base64(text: &str) -> Result<[u8; 32], UnreadableHash> {
    let bytes = STANDARD.decode(text).ok();
    bytes
        .and_then(|bytes| bytes.try_into().ok())
        .ok_or(UnreadableHash::Format)
}

#[cfg(test)]
mod tests {
    use super::*;
    use UnreadableHash::{Format, Iterations};

    const WERKZEUGS: &str = "pbkdf2:sha256:10$W8XbwaHc$45a30ef36de4da416315cabde85169d483c3a9103d4a7a9adb76bbb104286f8f";
    const DJANGOS: &str =
        "pbkdf2_sha256$7$irGCDqRlY3hmZez4uIZk6U$E9n3w2GUtlrKuCnnD+JrzMQWAhqApQkZ8RMi06BYBIY=";

    #[test]
    fn what_is_damaged_or_ruinous_is_refused() {
        for (stored, error) in [
            (WERKZEUGS.replace("sha256", "sha1"), Format),
            (WERKZEUGS.replace(":10$", "$"), Format),
            (WERKZEUGS.replace(":10$", ":010$"), Format),
            (WERKZEUGS.replace(":10$", ":-1$"), Format),
            (WERKZEUGS.replace(":10$", ":0$"), Iterations(0)),
            (
                WERKZEUGS.replace(":10$", ":10000001$"),
                Iterations(10_000_001),
            ),
            (WERKZEUGS.replace("W8XbwaHc", ""), Format),
            (WERKZEUGS.replace("45a3", "45A3"), Format),
            (WERKZEUGS.replace("45a3", "a3"), Format),
            (format!("{WERKZEUGS}00"), Format),
            (format!("{WERKZEUGS}$"), Format),
            (DJANGOS.replace("$7$", "$07$"), Format),
            (DJANGOS.replace("$7$", "$$"), Format),
            (DJANGOS.replace("$7$", "$4294967296$"), Format),
            (DJANGOS.replace("$7$", "$4294967295$"), Iterations(u32::MAX)),
            (DJANGOS.replace("BIY=", "BIY"), Format),
            // The last character has bits that no digest has.
            (DJANGOS.replace("BIY=", "BIZ="), Format),
            (DJANGOS.replace("BIY=", "BI=="), Format),
            (DJANGOS.replace("E9n3", "E9n-"), Format),
            (DJANGOS.replace("E9n3", "E9n3AAAA"), Format),
            (format!("{DJANGOS}\n"), Format),
        ] {
            assert_eq!(Pbkdf2Hash::parse(&stored).err(), Some(error), "{stored}");
        }
    }

    #[test]
    fn the_ceiling_itself_is_computed() {
        let stored = DJANGOS.replace("$7$", "$10000000$");
        assert!(Pbkdf2Hash::parse(&stored).is_ok());
    }
}
