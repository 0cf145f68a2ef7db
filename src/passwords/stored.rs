//! The two formats that a password is stored in:
//!
//! - `$2b$<cost>$<salt><digest>`, bcrypt as every library writes it, for up to
//!   72 bytes without NUL;
//! - `$bcrypt-sha256$v=2,t=2b,r=<cost>$<salt>$<digest>`, passlib's format, for
//!   anything else: bcrypt over an HMAC-SHA256 of the password.
//!
//! So nothing is ever truncated, and a NUL ends nothing.

use base64::{
    Engine as _, alphabet,
    engine::{
        GeneralPurpose,
        general_purpose::{NO_PAD, STANDARD},
    },
};
use bcrypt::HashParts;
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;
use subtle::ConstantTimeEq as _;
use thiserror::Error;
use zeroize::Zeroizing;

use super::kernel::{MAX_KEY_BYTES, bcrypt};
use crate::domain::HashedPassword;

/// The lowest bcrypt cost there is.
pub const MIN_COST: u32 = 4;

/// The highest bcrypt cost that is computed, a few seconds of one core. Each
/// step doubles the work: a stored cost of 31 would hold a core for days.
pub const MAX_COST: u32 = 16;

/// Characters of a salt and of a digest in bcrypt's base64.
const SALT_CHARS: usize = 22;
const DIGEST_CHARS: usize = 31;

const SHA256_PREFIX: &str = "$bcrypt-sha256$v=2,t=2b,r=";

/// The base64 of bcrypt's own alphabet.
const BCRYPT_BASE64: GeneralPurpose = GeneralPurpose::new(&alphabet::BCRYPT, NO_PAD);

/// Why a stored hash cannot be compared with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum UnreadableHash {
    /// Not one of the formats, or damaged.
    #[error("it is not in a format that this version knows")]
    Format,
    /// A cost outside [`MIN_COST`] to [`MAX_COST`].
    #[error("its cost of {0} is not between {MIN_COST} and {MAX_COST}")]
    Cost(u32),
}

/// How a password becomes bcrypt's key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Scheme {
    /// The password itself.
    Plain,
    /// passlib's `bcrypt_sha256`, version 2.
    Sha256,
}

impl Scheme {
    /// Plain where bcrypt can tell the password from every other one.
    fn for_password(password: &[u8]) -> Self {
        if fits_plain(password) {
            Self::Plain
        } else {
            Self::Sha256
        }
    }
}

/// bcrypt reads 72 bytes and repeats the key with a NUL between: beyond 72
/// bytes, or with a NUL inside, different passwords would be the same key.
fn fits_plain(password: &[u8]) -> bool {
    password.len() <= MAX_KEY_BYTES && !password.contains(&0)
}

/// A stored hash, taken apart.
pub(super) struct StoredHash {
    scheme: Scheme,
    cost: u32,
    salt: [u8; 16],
    digest: String,
}

impl StoredHash {
    pub(super) fn parse(stored: &str) -> Result<Self, UnreadableHash> {
        let (scheme, plain) = if let Some(rest) = stored.strip_prefix(SHA256_PREFIX) {
            (Scheme::Sha256, sha256_as_plain(rest)?)
        } else if stored.starts_with("$2b$") {
            (Scheme::Plain, stored.to_owned())
        } else {
            return Err(UnreadableHash::Format);
        };
        let parts: HashParts = plain.parse().map_err(|_| UnreadableHash::Format)?;
        let cost = parts.get_cost();
        if !(MIN_COST..=MAX_COST).contains(&cost) {
            return Err(UnreadableHash::Cost(cost));
        }
        Ok(Self {
            scheme,
            cost,
            salt: parts.get_salt_raw(),
            digest: plain[plain.len() - DIGEST_CHARS..].to_owned(),
        })
    }

    /// Compares in constant time, after the same work for any password.
    pub(super) fn matches(&self, password: &[u8]) -> bool {
        let computed = compute_digest(self.scheme, password, self.cost, self.salt);
        let equal = computed.as_bytes().ct_eq(self.digest.as_bytes());
        let comparable = self.scheme == Scheme::Sha256 || fits_plain(password);
        bool::from(equal) && comparable
    }
}

/// Rewrites `<cost>$<salt>$<digest>` as a plain bcrypt string.
fn sha256_as_plain(rest: &str) -> Result<String, UnreadableHash> {
    let mut fields = rest.split('$');
    let (Some(cost), Some(salt), Some(digest), None) =
        (fields.next(), fields.next(), fields.next(), fields.next())
    else {
        return Err(UnreadableHash::Format);
    };
    let is_canonical = matches!(cost.as_bytes(), [b'1'..=b'9'] | [b'1'..=b'9', b'0'..=b'9']);
    if !is_canonical || salt.len() != SALT_CHARS || digest.len() != DIGEST_CHARS {
        return Err(UnreadableHash::Format);
    }
    Ok(format!("$2b${cost:0>2}${salt}{digest}"))
}

/// Computes what to store for a password, with a salt of its own.
pub(super) fn hash(password: &[u8], cost: u32) -> Result<HashedPassword, getrandom::Error> {
    let scheme = Scheme::for_password(password);
    let salt = random()?;
    let digest = compute_digest(scheme, password, cost, salt);
    Ok(to_stored(scheme, cost, salt, &digest))
}

/// A well-formed hash of no known password.
pub(super) fn decoy(cost: u32) -> Result<HashedPassword, getrandom::Error> {
    let digest = BCRYPT_BASE64.encode(random::<23>()?);
    Ok(to_stored(Scheme::Plain, cost, random()?, &digest))
}

fn to_stored(scheme: Scheme, cost: u32, salt: [u8; 16], digest: &str) -> HashedPassword {
    let salt = BCRYPT_BASE64.encode(salt);
    HashedPassword::new(match scheme {
        Scheme::Plain => format!("$2b${cost:02}${salt}{digest}"),
        Scheme::Sha256 => format!("{SHA256_PREFIX}{cost}${salt}${digest}"),
    })
}

/// The digest that a password has under a scheme, in bcrypt's base64.
fn compute_digest(scheme: Scheme, password: &[u8], cost: u32, salt: [u8; 16]) -> Zeroizing<String> {
    let digest = match scheme {
        Scheme::Plain => bcrypt(password, cost, salt),
        Scheme::Sha256 => bcrypt(prehash(password, salt).as_bytes(), cost, salt),
    };
    Zeroizing::new(BCRYPT_BASE64.encode(digest.as_ref()))
}

/// passlib's key: base64 with padding of HMAC-SHA256 over the password, keyed
/// with the salt's 22 characters (not its 16 bytes).
fn prehash(password: &[u8], salt: [u8; 16]) -> Zeroizing<String> {
    let mut mac = Hmac::<Sha256>::new_from_slice(BCRYPT_BASE64.encode(salt).as_bytes())
        .expect("HMAC takes a key of any length");
    mac.update(password);
    Zeroizing::new(STANDARD.encode(mac.finalize().into_bytes()))
}

fn random<const N: usize>() -> Result<[u8; N], getrandom::Error> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn matches(stored: &str, password: &[u8]) -> bool {
        StoredHash::parse(stored)
            .unwrap_or_else(|error| panic!("{stored} {error}"))
            .matches(password)
    }

    /// From OpenBSD's and Openwall's published test vectors.
    #[test]
    fn bcrypts_published_vectors() {
        for (stored, password) in [
            (
                "$2b$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW",
                &b"U*U"[..],
            ),
            (
                "$2b$05$CCCCCCCCCCCCCCCCCCCCC.VGOzA784oUp/Z0DY336zx7pLYAy0lwK",
                b"U*U*",
            ),
            (
                "$2b$05$XXXXXXXXXXXXXXXXXXXXXOAcXxm9kjPGEMsLznoKqmqw7tc8WCx4a",
                b"U*U*U",
            ),
            (
                "$2b$05$CCCCCCCCCCCCCCCCCCCCC.7uG0VCzI2bS7j6ymqJi9CdcdxiRTWNy",
                b"",
            ),
            (
                "$2b$06$m0CrhHm10qJ3lXRY.5zDGO3rS2KdeeWLuGmsfGlMfOxih58VYVfxe",
                b"a",
            ),
            (
                "$2b$06$If6bvum7DFjUnE9p2uDeDu0YHzrHM6tf.iqN8.yx.jNN1ILEf7h0i",
                b"abc",
            ),
            (
                "$2b$06$.rCVZVOThsIa97pEDOxvGuRRgzG64bvtJ0938xuqzv18d3ZpQhstC",
                b"abcdefghijklmnopqrstuvwxyz",
            ),
            (
                "$2b$06$fPIsBO8qRqkjj273rfaOI.HtSV9jLDpTbZn782DC6/t7qT67P6FfO",
                b"~!@#$%^&*()      ~!@#$%^&*()PNBFRD",
            ),
            (
                "$2b$05$/OK.fbVrR/bpIqNJ5ianF.swQOIzjOiJ9GHEPuhEkvqrUyvWhEMx6",
                &b"\xaa".repeat(72),
            ),
        ] {
            assert!(matches(stored, password), "{stored}");
            assert!(!matches(stored, b"something else"), "{stored}");
        }
    }

    /// From passlib's documentation of `bcrypt_sha256` and from its test suite.
    #[test]
    fn passlibs_vectors() {
        let long = "abc123".repeat(12);
        for (stored, password) in [
            (
                "$bcrypt-sha256$v=2,t=2b,r=12$n79VH.0Q2TMWmt3Oqt9uku$Kq4Noyk3094Y2QlB8NdRT8SvGiI4ft2",
                "password",
            ),
            (
                "$bcrypt-sha256$v=2,t=2b,r=13$AmytCA45b12VeVg0YdDT3.$IZTbbJKgJlD5IJoCWhuDUqYjnJwNPlO",
                "password",
            ),
            (
                "$bcrypt-sha256$v=2,t=2b,r=5$E/e/2AOhqM5W/KJTFQzLce$WFPIZKtDDTriqWwlmRFfHiOTeheAZWe",
                "",
            ),
            (
                "$bcrypt-sha256$v=2,t=2b,r=5$5Hg1DKFqPE8C2aflZ5vVoe$wOK1VFFtS8IGTrGa7.h5fs0u84qyPbS",
                "password",
            ),
            (
                "$bcrypt-sha256$v=2,t=2b,r=5$X1g1nh3g0v4h6970O68cxe$zu1cloESVFIOsUIo7fCEgkdHaI9SSue",
                &long,
            ),
            (
                "$bcrypt-sha256$v=2,t=2b,r=5$X1g1nh3g0v4h6970O68cxe$CBF9csfEdW68xv3DwE6xSULXMtqEFP.",
                &format!("{long}qwr"),
            ),
            (
                "$bcrypt-sha256$v=2,t=2b,r=5$X1g1nh3g0v4h6970O68cxe$zC/1UDUG2ofEXB6Onr2vvyFzfhEOS3S",
                &format!("{long}xyz"),
            ),
        ] {
            assert!(matches(stored, password.as_bytes()), "{stored}");
            assert!(!matches(stored, b"something else"), "{stored}");
        }
    }

    #[test]
    fn the_format_follows_the_password() {
        for (password, prefix) in [
            (&b"short"[..], "$2b$04$"),
            (&[b'a'; 72], "$2b$04$"),
            (&[b'a'; 73], "$bcrypt-sha256$v=2,t=2b,r=4$"),
            (b"with\0nul", "$bcrypt-sha256$v=2,t=2b,r=4$"),
        ] {
            let stored = hash(password, MIN_COST).unwrap();
            assert!(stored.expose().starts_with(prefix));
            assert!(matches(stored.expose(), password));
        }
    }

    #[test]
    fn a_plain_hash_never_matches_what_bcrypt_would_confuse() {
        let stored = hash(b"secret", MIN_COST).unwrap();
        assert!(!matches(stored.expose(), b"secret\0secret"));
        let stored = hash(b"", MIN_COST).unwrap();
        assert!(!matches(stored.expose(), b"\0"));
        let stored = hash(&[b'a'; 72], MIN_COST).unwrap();
        assert!(!matches(stored.expose(), &[b'a'; 73]));
    }

    #[test]
    fn what_is_damaged_or_ruinous_is_refused() {
        use UnreadableHash::{Cost, Format};
        let plain = "$2b$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW";
        let sha =
            "$bcrypt-sha256$v=2,t=2b,r=12$n79VH.0Q2TMWmt3Oqt9uku$Kq4Noyk3094Y2QlB8NdRT8SvGiI4ft2";
        for (stored, error) in [
            ("".to_owned(), Format),
            ("secret".to_owned(), Format),
            (plain[..59].to_owned(), Format),
            (format!("{plain}x"), Format),
            (plain.replace("$05$", "$5$"), Format),
            (plain.replace("$05$", "$xx$"), Format),
            (plain.replace("$05$", "$03$"), Cost(3)),
            (plain.replace("$05$", "$17$"), Cost(17)),
            (plain.replace("$05$", "$31$"), Cost(31)),
            (plain.replace("$05$", "$99$"), Cost(99)),
            (plain.replace("E5YP", "E5Y!"), Format),
            (plain.replace("E5YP", "E5Y\u{E9}"), Format),
            // A last salt character with bits that no salt has.
            (plain.replace("C.E5", "CDE5"), Format),
            (sha.replace("r=12", "r=012"), Format),
            (sha.replace("r=12", "r=31"), Cost(31)),
            (sha.replace("r=12", "r=+9"), Format),
            (sha.replace("r=12", "r="), Format),
            (sha.replace("v=2", "v=1"), Format),
            (format!("{sha}$"), Format),
            (sha[..sha.len() - 1].to_owned(), Format),
        ] {
            assert_eq!(StoredHash::parse(&stored).err(), Some(error), "{stored}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn plain_hashes_are_the_bcrypt_crates(password in proptest::collection::vec(1_u8.., 0..=72)) {
            let ours = hash(&password, MIN_COST).unwrap();
            prop_assert!(::bcrypt::verify(&password, ours.expose()).unwrap());
            let theirs = ::bcrypt::hash(&password, MIN_COST).unwrap();
            prop_assert!(matches(&theirs, &password));
        }

        #[test]
        fn another_password_never_matches(
            password in proptest::collection::vec(any::<u8>(), 0..200),
            other in proptest::collection::vec(any::<u8>(), 0..200),
        ) {
            let stored = hash(&password, MIN_COST).unwrap();
            prop_assert!(matches(stored.expose(), &password));
            prop_assert_eq!(matches(stored.expose(), &other), password == other);
        }

        #[test]
        fn no_stored_text_panics(text in any::<String>(), tail in "[./A-Za-z0-9$=,]{0,60}") {
            let _ = StoredHash::parse(&text);
            let _ = StoredHash::parse(&format!("$2b${tail}"));
            let _ = StoredHash::parse(&format!("{SHA256_PREFIX}{tail}"));
        }
    }
}
