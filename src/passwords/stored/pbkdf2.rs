//! PBKDF2 with HMAC of SHA-1, SHA-256 or SHA-512:
//!
//! | format | written by |
//! |---|---|
//! | `pbkdf2:sha256:<iterations>$<salt>$<digest in hexadecimal>`; also `sha1`, `sha512` | Werkzeug |
//! | `pbkdf2_sha256$<iterations>$<salt>$<digest in base64>`; also `pbkdf2_sha1` | Django |
//! | `$pbkdf2-sha256$<iterations>$<salt>$<digest>`; also `$pbkdf2-sha512$`, and `$pbkdf2$` for SHA-1 | passlib |
//!
//! passlib encodes salt and digest in its own base64, with `.` for `+` and without padding.

use base64::{
    Engine as _,
    alphabet::Alphabet,
    engine::{
        GeneralPurpose,
        general_purpose::{NO_PAD, STANDARD},
    },
};
use pbkdf2::pbkdf2_hmac;
use sha1::Sha1;
use sha2::{Sha256, Sha512};
use subtle::ConstantTimeEq as _;
use zeroize::Zeroizing;

use super::{
    UnreadableHash,
    fields::{MAX_SALT_BYTES, hex, number, split, text_salt},
    limits::{MAX_ITERATIONS, MAX_ITERATIONS_SHA512},
};

/// The prefixes of this family, with the hash function and the encoding of the rest.
const FORMATS: [(&str, Function, Encoding); 8] = [
    ("pbkdf2:sha1:", Function::Sha1, Encoding::Werkzeug),
    ("pbkdf2:sha256:", Function::Sha256, Encoding::Werkzeug),
    ("pbkdf2:sha512:", Function::Sha512, Encoding::Werkzeug),
    ("pbkdf2_sha1$", Function::Sha1, Encoding::Django),
    ("pbkdf2_sha256$", Function::Sha256, Encoding::Django),
    ("$pbkdf2$", Function::Sha1, Encoding::Passlib),
    ("$pbkdf2-sha256$", Function::Sha256, Encoding::Passlib),
    ("$pbkdf2-sha512$", Function::Sha512, Encoding::Passlib),
];

const PASSLIB_BASE64: GeneralPurpose = GeneralPurpose::new(&PASSLIB_ALPHABET, NO_PAD);

const PASSLIB_ALPHABET: Alphabet =
    match Alphabet::new("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789./") {
        Ok(alphabet) => alphabet,
        Err(_) => panic!("it has 64 different characters"),
    };

/// The hash function of the HMAC.
#[derive(Clone, Copy)]
enum Function {
    Sha1,
    Sha256,
    Sha512,
}

#[derive(Clone, Copy)]
enum Encoding {
    Werkzeug,
    Django,
    Passlib,
}

/// A parsed hash.
pub(in crate::passwords) struct Pbkdf2Hash {
    function: Function,
    iterations: u32,
    salt: Vec<u8>,
    digest: Vec<u8>,
}

impl Pbkdf2Hash {
    /// Whether a stored hash has a prefix of this family.
    pub(super) fn recognises(stored: &str) -> bool {
        FORMATS
            .iter()
            .any(|(prefix, _, _)| stored.starts_with(prefix))
    }

    pub(super) fn parse(stored: &str) -> Result<Self, UnreadableHash> {
        let format = FORMATS.iter().find_map(|(prefix, function, encoding)| {
            Some((stored.strip_prefix(prefix)?, *function, *encoding))
        });
        let (rest, function, encoding) = format.ok_or(UnreadableHash::Format)?;
        let [iterations, salt, digest] = split(rest, '$')?;
        let iterations = number(iterations)?;
        let (salt, digest) = match encoding {
            Encoding::Werkzeug => (text_salt(salt)?, function.hex(digest)?),
            Encoding::Django => (text_salt(salt)?, base64(&STANDARD, digest)?),
            Encoding::Passlib => (
                base64(&PASSLIB_BASE64, salt)?,
                base64(&PASSLIB_BASE64, digest)?,
            ),
        };
        if digest.len() != function.digest_bytes() || salt.len() > MAX_SALT_BYTES {
            return Err(UnreadableHash::Format);
        }
        let most = function.max_iterations();
        if !(1..=most).contains(&iterations) {
            return Err(UnreadableHash::Iterations { iterations, most });
        }
        Ok(Self {
            function,
            iterations,
            salt,
            digest,
        })
    }

    pub(super) fn matches(&self, password: &[u8]) -> bool {
        let Self {
            function,
            iterations,
            salt,
            digest,
        } = self;
        let mut computed = Zeroizing::new(vec![0; digest.len()]);
        match function {
            Function::Sha1 => pbkdf2_hmac::<Sha1>(password, salt, *iterations, &mut computed),
            Function::Sha256 => pbkdf2_hmac::<Sha256>(password, salt, *iterations, &mut computed),
            Function::Sha512 => pbkdf2_hmac::<Sha512>(password, salt, *iterations, &mut computed),
        }
        bool::from(digest.ct_eq(&computed)) && fits_hmac(password)
    }
}

impl Function {
    fn digest_bytes(self) -> usize {
        match self {
            Self::Sha1 => 20,
            Self::Sha256 => 32,
            Self::Sha512 => 64,
        }
    }

    fn max_iterations(self) -> u32 {
        match self {
            Self::Sha1 | Self::Sha256 => MAX_ITERATIONS,
            Self::Sha512 => MAX_ITERATIONS_SHA512,
        }
    }

    fn hex(self, digits: &str) -> Result<Vec<u8>, UnreadableHash> {
        match self {
            Self::Sha1 => hex::<20>(digits).map(Vec::from),
            Self::Sha256 => hex::<32>(digits).map(Vec::from),
            Self::Sha512 => hex::<64>(digits).map(Vec::from),
        }
    }
}

/// Whether HMAC can tell the password from all others. HMAC pads its key with NULs, so a
/// password that ends in one has the same key as the password without it.
pub(super) fn fits_hmac(password: &[u8]) -> bool {
    !password.ends_with(&[0])
}

fn base64(alphabet: &GeneralPurpose, text: &str) -> Result<Vec<u8>, UnreadableHash> {
    alphabet.decode(text).map_err(|_| UnreadableHash::Format)
}

#[cfg(test)]
mod tests {
    use super::*;
    use UnreadableHash::Format;

    const WERKZEUGS: &str = "pbkdf2:sha256:10$W8XbwaHc$45a30ef36de4da416315cabde85169d483c3a9103d4a7a9adb76bbb104286f8f";
    const DJANGOS: &str =
        "pbkdf2_sha256$7$irGCDqRlY3hmZez4uIZk6U$E9n3w2GUtlrKuCnnD+JrzMQWAhqApQkZ8RMi06BYBIY=";
    const PASSLIBS: &str = "$pbkdf2-sha512$7$mhPivBeCcM4ZYwyhlNL6Hw$Nw65EbCpbeZQsDvl8IUrvI15gvOaQv2Eqcon4gAU8JFR9vsSZMDt2i.3OHx4ADzODItqivTWrIDw31QHOUHxqg";

    fn over(iterations: u32, most: u32) -> UnreadableHash {
        UnreadableHash::Iterations { iterations, most }
    }

    #[test]
    fn damaged_and_too_costly_hashes_are_refused() {
        for (stored, error) in [
            (WERKZEUGS.replace("sha256", "sha224"), Format),
            // The digest has another length.
            (WERKZEUGS.replace("sha256", "sha1"), Format),
            (WERKZEUGS.replace("sha256", "sha512"), Format),
            (WERKZEUGS.replace(":10$", "$"), Format),
            (WERKZEUGS.replace(":10$", ":010$"), Format),
            (WERKZEUGS.replace(":10$", ":-1$"), Format),
            (WERKZEUGS.replace(":10$", ":0$"), over(0, 10_000_000)),
            (
                WERKZEUGS.replace(":10$", ":10000001$"),
                over(10_000_001, 10_000_000),
            ),
            (WERKZEUGS.replace("W8XbwaHc", ""), Format),
            (WERKZEUGS.replace("45a3", "45A3"), Format),
            (WERKZEUGS.replace("45a3", "a3"), Format),
            (format!("{WERKZEUGS}00"), Format),
            (format!("{WERKZEUGS}$"), Format),
            (DJANGOS.replace("$7$", "$07$"), Format),
            (DJANGOS.replace("$7$", "$$"), Format),
            (DJANGOS.replace("$7$", "$4294967296$"), Format),
            (
                DJANGOS.replace("$7$", "$4294967295$"),
                over(u32::MAX, 10_000_000),
            ),
            (DJANGOS.replace("sha256", "sha1"), Format),
            (DJANGOS.replace("sha256", "sha512"), Format),
            (DJANGOS.replace("BIY=", "BIY"), Format),
            // The last character has bits beyond the digest.
            (DJANGOS.replace("BIY=", "BIZ="), Format),
            (DJANGOS.replace("BIY=", "BI=="), Format),
            (DJANGOS.replace("E9n3", "E9n-"), Format),
            (DJANGOS.replace("E9n3", "E9n3AAAA"), Format),
            (format!("{DJANGOS}\n"), Format),
            (PASSLIBS.replace("sha512", "sha256"), Format),
            (PASSLIBS.replace("-sha512", ""), Format),
            (PASSLIBS.replace("-sha512", "-sha384"), Format),
            (PASSLIBS.replace("$7$", "$rounds=7$"), Format),
            (PASSLIBS.replace("i.3O", "i+3O"), Format),
            (PASSLIBS.replace("Hxqg", "Hxqh"), Format),
            (PASSLIBS.replace("Hxqg", "Hxqg=="), Format),
            (PASSLIBS.replace("mhPi", "mh!i"), Format),
            (
                PASSLIBS.replace("$7$", "$4000001$"),
                over(4_000_001, 4_000_000),
            ),
        ] {
            assert_eq!(Pbkdf2Hash::parse(&stored).err(), Some(error), "{stored}");
        }
    }

    #[test]
    fn the_highest_iterations_are_accepted() {
        for stored in [
            DJANGOS.replace("$7$", "$10000000$"),
            PASSLIBS.replace("$7$", "$4000000$"),
        ] {
            assert!(Pbkdf2Hash::parse(&stored).is_ok(), "{stored}");
        }
    }
}
