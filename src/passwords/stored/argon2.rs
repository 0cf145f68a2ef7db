//! Argon2id in PHC's format (RFC 9106; version 19, no key identifier, no data):
//! `$argon2id$v=19$m=<KiB>,t=<passes>,p=<lanes>$<salt>$<digest>`, as written by Argon2's
//! reference library, argon2-cffi and passlib. Django's format has the prefix `argon2`.

use std::ops::RangeInclusive;

use argon2::{Algorithm, Argon2, Params, Version};
use base64::{Engine as _, engine::general_purpose::STANDARD_NO_PAD};
use subtle::ConstantTimeEq as _;
use zeroize::Zeroizing;

use super::{
    UnreadableHash,
    fields::{number, split},
    limits::{MAX_ARGON2_KIB, MAX_ARGON2_LANES, MAX_ARGON2_WORK_KIB},
};

/// The prefixes of this family.
pub(super) const PREFIXES: [&str; 2] = [DJANGO, PHC];
const PHC: &str = "$argon2id$v=19$";
const DJANGO: &str = "argon2$argon2id$v=19$";

/// Bytes of a salt: from Argon2's minimum to PHC's maximum.
const SALT_BYTES: RangeInclusive<usize> = 8..=48;

/// Bytes of a digest. Shorter ones are too likely to match by chance.
const DIGEST_BYTES: RangeInclusive<usize> = 16..=64;

/// A parsed hash.
pub(in crate::passwords) struct Argon2Hash {
    params: Params,
    salt: Vec<u8>,
    digest: Vec<u8>,
}

impl Argon2Hash {
    pub(super) fn parse(stored: &str) -> Result<Self, UnreadableHash> {
        let rest = PREFIXES
            .iter()
            .find_map(|prefix| stored.strip_prefix(prefix));
        let [params, salt, digest] = split(rest.ok_or(UnreadableHash::Format)?, '$')?;
        let [m, t, p] = split(params, ',')?;
        let (m, t, p) = (named(m, "m=")?, named(t, "t=")?, named(p, "p=")?);
        let salt = base64(salt, SALT_BYTES)?;
        let digest = base64(digest, DIGEST_BYTES)?;
        let params = bounded(m, t, p, digest.len()).ok_or(UnreadableHash::Argon2 { m, t, p })?;
        Ok(Self {
            params,
            salt,
            digest,
        })
    }

    pub(super) fn matches(&self, password: &[u8]) -> bool {
        let mut computed = Zeroizing::new(vec![0; self.digest.len()]);
        let is_computed = Argon2::new(Algorithm::Argon2id, Version::V0x13, self.params.clone())
            .hash_password_into(password, &self.salt, &mut computed)
            .is_ok();
        bool::from(self.digest.ct_eq(&computed)) && is_computed
    }
}

fn named(field: &str, name: &str) -> Result<u32, UnreadableHash> {
    number(field.strip_prefix(name).ok_or(UnreadableHash::Format)?)
}

fn base64(text: &str, lengths: RangeInclusive<usize>) -> Result<Vec<u8>, UnreadableHash> {
    let bytes = STANDARD_NO_PAD.decode(text).ok();
    bytes
        .filter(|bytes| lengths.contains(&bytes.len()))
        .ok_or(UnreadableHash::Format)
}

fn bounded(m: u32, t: u32, p: u32, digest_bytes: usize) -> Option<Params> {
    let is_allowed = m <= MAX_ARGON2_KIB
        && u64::from(m) * u64::from(t) <= MAX_ARGON2_WORK_KIB
        && p <= MAX_ARGON2_LANES;
    is_allowed
        .then(|| Params::new(m, t, p, Some(digest_bytes)).ok())
        .flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    const STORED: &str = "$argon2id$v=19$m=16,t=2,p=2$Ghug1t8j4gMIFeT9yGeyYw$+HhZDhrcOfIQ+7CiUvc8Phti1ALYjOiZB5gQrElyn2g";

    #[test]
    fn parameters_are_limited() {
        for (m, t, p) in [
            (8, 1, 1),
            (102_400, 2, 8),
            (65_536, 3, 4),
            (131_072, 16, 255),
            (8, 262_144, 1),
        ] {
            let stored = STORED.replace("m=16,t=2,p=2", &format!("m={m},t={t},p={p}"));
            assert!(Argon2Hash::parse(&stored).is_ok(), "{stored}");
        }
        for (m, t, p) in [
            (7, 1, 1),
            (15, 1, 2),
            (16, 0, 2),
            (16, 2, 0),
            (131_073, 1, 1),
            (131_072, 17, 1),
            (8, 262_145, 1),
            (131_072, 1, 256),
            (u32::MAX, u32::MAX, u32::MAX),
        ] {
            let stored = STORED.replace("m=16,t=2,p=2", &format!("m={m},t={t},p={p}"));
            let refused = UnreadableHash::Argon2 { m, t, p };
            assert_eq!(Argon2Hash::parse(&stored).err(), Some(refused));
        }
    }

    #[test]
    fn damaged_hashes_are_refused() {
        let digest_of = |length| STANDARD_NO_PAD.encode(vec![7; length]);
        let (head, _) = STORED.rsplit_once('$').unwrap();
        for stored in [
            STORED.replace("argon2id", "argon2i"),
            STORED.replace("argon2id", "argon2d"),
            STORED.replace("v=19$", ""),
            STORED.replace("v=19", "v=16"),
            STORED.replace("m=16,t=2", "t=2,m=16"),
            STORED.replace("p=2", "p=2,keyid=AAAA"),
            STORED.replace("p=2", "p=2,data=AAAA"),
            STORED.replace("p=2", "p=02"),
            STORED.replace("p=2", "p=+2"),
            STORED.replace("p=2", "p="),
            STORED.replace(",p=2", ""),
            STORED.replace("Ghug1t8j4gMIFeT9yGeyYw", ""),
            // A salt of 7 bytes, and one of 49.
            STORED.replace("Ghug1t8j4gMIFeT9yGeyYw", &digest_of(7)),
            STORED.replace("Ghug1t8j4gMIFeT9yGeyYw", &digest_of(49)),
            // Last characters with bits beyond the salt or the digest.
            STORED.replace("yGeyYw", "yGeyYx"),
            STORED.replace("lyn2g", "lyn2h"),
            STORED.replace("lyn2g", "lyn2g="),
            STORED.replace("+HhZ", "-HhZ"),
            format!("{head}${}", digest_of(15)),
            format!("{head}${}", digest_of(65)),
            head.to_owned(),
            format!("{STORED}$"),
            format!("{STORED}\n"),
            format!("argon2{STORED}").replace("argon2$", "argon2$$"),
        ] {
            assert_eq!(
                Argon2Hash::parse(&stored).err(),
                Some(UnreadableHash::Format),
                "{stored}"
            );
        }
        for length in [16, 64] {
            assert!(Argon2Hash::parse(&format!("{head}${}", digest_of(length))).is_ok());
        }
    }
}
