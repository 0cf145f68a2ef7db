//! scrypt, with a digest of 64 bytes:
//!
//! - `scrypt:<N>:<r>:<p>$<salt>$<digest in hexadecimal>` by Werkzeug,
//! - `scrypt$<N>$<salt>$<r>$<p>$<digest in base64>` by Django.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use scrypt::{Params, scrypt};
use subtle::ConstantTimeEq as _;
use zeroize::Zeroizing;

use super::{
    UnreadableHash,
    fields::{hex, number, split, text_salt},
    limits::{MAX_SCRYPT_R_AND_P, MAX_SCRYPT_SPACE, MAX_SCRYPT_WORK},
    pbkdf2::fits_hmac,
};

/// The prefixes of this family.
pub(super) const PREFIXES: [&str; 2] = [WERKZEUG, DJANGO];
const WERKZEUG: &str = "scrypt:";
const DJANGO: &str = "scrypt$";

/// A parsed hash.
pub(in crate::passwords) struct ScryptHash {
    params: Params,
    salt: Vec<u8>,
    digest: [u8; 64],
}

impl ScryptHash {
    pub(super) fn parse(stored: &str) -> Result<Self, UnreadableHash> {
        let ([n, r, p], salt, digest) = if let Some(rest) = stored.strip_prefix(WERKZEUG) {
            let [params, salt, digest] = split(rest, '$')?;
            (split(params, ':')?, salt, hex(digest)?)
        } else {
            let rest = stored.strip_prefix(DJANGO).ok_or(UnreadableHash::Format)?;
            let [n, salt, r, p, digest] = split(rest, '$')?;
            ([n, r, p], salt, base64(digest)?)
        };
        let (n, r, p) = (number(n)?, number(r)?, number(p)?);
        let salt = text_salt(salt)?;
        let params = bounded(n, r, p).ok_or(UnreadableHash::Scrypt { n, r, p })?;
        Ok(Self {
            params,
            salt,
            digest,
        })
    }

    pub(super) fn matches(&self, password: &[u8]) -> bool {
        let mut computed = Zeroizing::new([0; 64]);
        let is_computed = scrypt(password, &self.salt, &self.params, computed.as_mut()).is_ok();
        bool::from(self.digest.ct_eq(computed.as_ref())) && is_computed && fits_hmac(password)
    }
}

fn base64(text: &str) -> Result<[u8; 64], UnreadableHash> {
    let bytes = STANDARD.decode(text).ok();
    bytes
        .and_then(|bytes| bytes.try_into().ok())
        .ok_or(UnreadableHash::Format)
}

fn bounded(n: u32, r: u32, p: u32) -> Option<Params> {
    let space = u64::from(n) * u64::from(r);
    let is_allowed = n.is_power_of_two()
        && n > 1
        && r.max(p) <= MAX_SCRYPT_R_AND_P
        && space <= MAX_SCRYPT_SPACE
        && space * u64::from(p) <= MAX_SCRYPT_WORK;
    let log_n = u8::try_from(n.trailing_zeros()).ok()?;
    Params::new(log_n, r, p).ok().filter(|_| is_allowed)
}

#[cfg(test)]
mod tests {
    use super::*;

    const STORED: &str = "scrypt:16:2:3$5o0W4ZK1ZTm0CKQh$f77adfd66b1d64c3fe08c76a8916f379be4a454186211f8ec35a1d667755959406f01c59dd9e4d54ff88082dea9994fe217429af6feb03e337896373da7f0d1a";

    const DJANGOS: &str = "scrypt$16$BLklb8vBqWNSU2QfULpzAS$2$3$a/OhcjZ/AUPX2EKIXN1/VEFR11XDUd65wAb/xSYDb2zVXDmF7HnTE0c6+rYK6AN2ZD5owyPe8VbnqrFGBP6uFQ==";

    #[test]
    fn parameters_are_limited() {
        assert!(ScryptHash::parse(DJANGOS).is_ok());
        let stored = DJANGOS.replace("$2$3$", "$33$3$");
        let refused = UnreadableHash::Scrypt { n: 16, r: 33, p: 3 };
        assert_eq!(ScryptHash::parse(&stored).err(), Some(refused));
        for (n, r, p) in [
            (2, 1, 1),
            (32_768, 8, 1),
            (131_072, 8, 1),
            (131_072, 8, 4),
            (1_048_576, 1, 4),
            (4_096, 32, 32),
        ] {
            let stored = STORED.replace("16:2:3", &format!("{n}:{r}:{p}"));
            assert!(ScryptHash::parse(&stored).is_ok(), "{n}:{r}:{p}");
        }
        for (n, r, p) in [
            (0, 8, 1),
            (1, 8, 1),
            (16, 0, 1),
            (16, 8, 0),
            (3, 8, 1),
            (32_767, 8, 1),
            (262_144, 8, 1),
            (2_097_152, 1, 1),
            (131_072, 8, 5),
            (2, 33, 1),
            (2, 1, 33),
            (u32::MAX, u32::MAX, u32::MAX),
            (1 << 31, u32::MAX, u32::MAX),
        ] {
            let stored = STORED.replace("16:2:3", &format!("{n}:{r}:{p}"));
            let refused = UnreadableHash::Scrypt { n, r, p };
            assert_eq!(ScryptHash::parse(&stored).err(), Some(refused));
        }
    }

    #[test]
    fn damaged_hashes_are_refused() {
        for stored in [
            STORED.replace("16:2:3", "16:2"),
            STORED.replace("16:2:3", "16:2:3:1"),
            STORED.replace("16:2:3", "16:2:03"),
            STORED.replace("16:2:3", "16:2:+3"),
            STORED.replace("16:2:3", "4294967296:2:3"),
            STORED.replace("scrypt:16:2:3", "scrypt"),
            STORED.replace("5o0W4ZK1ZTm0CKQh", ""),
            STORED.replace("$f77a", "$F77A"),
            STORED.replace("$f77a", "$7a"),
            STORED.replace("$f77a", "$00f77a"),
            STORED.replace("$f77a", "f77a"),
            format!("{STORED}$"),
            format!("{STORED}\n"),
            DJANGOS.replace("$2$3$", "$2$"),
            DJANGOS.replace("$2$3$", "$2$03$"),
            DJANGOS.replace("scrypt$16$", "scrypt$"),
            DJANGOS.replace("BLklb8vBqWNSU2QfULpzAS", ""),
            DJANGOS.replace("FQ==", "FQ"),
            DJANGOS.replace("FQ==", "FR=="),
            DJANGOS.replace("a/Oh", ""),
            format!("{DJANGOS}$"),
            format!("$scrypt${DJANGOS}"),
        ] {
            assert_eq!(
                ScryptHash::parse(&stored).err(),
                Some(UnreadableHash::Format),
                "{stored}"
            );
        }
    }
}
