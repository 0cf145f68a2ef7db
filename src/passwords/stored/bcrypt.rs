//! The formats based on bcrypt. Each derives bcrypt's key from a password in its own way,
//! and writes cost, salt and digest in its own way:
//!
//! | format | key |
//! |---|---|
//! | `$2b$<cost>$<salt><digest>`; also `$2a$`, `$2y$` | the password |
//! | Django: `bcrypt$` and the first format | the password |
//! | passlib: `$bcrypt-sha256$v=2,t=2b,r=<cost>$<salt>$<digest>` | HMAC-SHA256 |
//! | passlib, version 1: `$bcrypt-sha256$2b,<cost>$<salt>$<digest>`; also `2a` | SHA-256 |
//! | Django: `bcrypt_sha256$` and the first format | SHA-256 |
//! | WordPress since 6.8: `$wp` and the first format | HMAC-SHA384 |
//!
//! New hashes have the format `$2b$` or passlib's second version; the others are only read.
//! `$2a$` and `$2y$` are older names of the same function. `$2x$` marks the hashes of a
//! broken implementation, which are refused.

use base64::Engine as _;
use bcrypt_lanes::{Digest, Input};
use subtle::ConstantTimeEq as _;

use super::{
    UnreadableHash,
    fields::{BCRYPT_BASE64, number, split},
    key::{Key, fits_plain},
    limits::{MAX_COST, MIN_COST},
};
use crate::domain::HashedPassword;

/// The length of a salt in bcrypt's base64.
const SALT_CHARS: usize = 22;

const PLAIN: &str = "$2b$";
const CRYPT: [&str; 3] = [PLAIN, "$2a$", "$2y$"];
const PASSLIB: &str = "$bcrypt-sha256$v=2,t=2b,r=";
const PASSLIB_V1: [&str; 2] = ["$bcrypt-sha256$2b,", "$bcrypt-sha256$2a,"];
const DJANGO: &str = "bcrypt$";
const DJANGO_SHA256: &str = "bcrypt_sha256$";
const WORDPRESS: &str = "$wp";

/// A parsed hash.
pub(in crate::passwords) struct BcryptHash {
    key: Key,
    cost: u32,
    salt: [u8; 16],
    digest: [u8; 23],
    /// Whether this service would write the hash in the same format, to the last bit.
    is_own_format: bool,
}

impl BcryptHash {
    pub(super) fn parse(stored: &str) -> Result<Self, UnreadableHash> {
        if let Some(rest) = stored.strip_prefix(PASSLIB) {
            return Self::from_passlib(Key::HmacBase64, rest, true);
        }
        if let Some(rest) = strip_any(stored, PASSLIB_V1) {
            return Self::from_passlib(Key::Sha256Base64, rest, false);
        }
        if let Some(rest) = stored.strip_prefix(DJANGO_SHA256) {
            return Self::from_crypt(Key::Sha256Hex, rest, false);
        }
        if let Some(rest) = stored.strip_prefix(WORDPRESS) {
            return Self::from_crypt(Key::WordPress, rest, false);
        }
        if let Some(rest) = stored.strip_prefix(DJANGO) {
            return Self::from_crypt(Key::Plain, rest, false);
        }
        Self::from_crypt(Key::Plain, stored, stored.starts_with(PLAIN))
    }

    /// Parses `$2b$<two digits of cost>$<salt><digest>`.
    fn from_crypt(key: Key, text: &str, is_own_format: bool) -> Result<Self, UnreadableHash> {
        let rest = strip_any(text, CRYPT).ok_or(UnreadableHash::Format)?;
        let [cost, salt_and_digest] = split(rest, '$')?;
        let (Some((salt, digest)), 2) = (salt_and_digest.split_at_checked(SALT_CHARS), cost.len())
        else {
            return Err(UnreadableHash::Format);
        };
        let cost = cost.strip_prefix('0').unwrap_or(cost);
        Self::from_fields(key, [cost, salt, digest], is_own_format)
    }

    /// Parses `<cost>$<salt>$<digest>`.
    fn from_passlib(key: Key, text: &str, is_own_format: bool) -> Result<Self, UnreadableHash> {
        Self::from_fields(key, split(text, '$')?, is_own_format)
    }

    fn from_fields(
        key: Key,
        [cost, salt, digest]: [&str; 3],
        is_own_format: bool,
    ) -> Result<Self, UnreadableHash> {
        let (cost, salt_bytes, digest_bytes) = (number(cost)?, base64(salt)?, base64(digest)?);
        if !(MIN_COST..=MAX_COST).contains(&cost) {
            return Err(UnreadableHash::Cost(cost));
        }
        let is_canonical = BCRYPT_BASE64.encode(salt_bytes) == salt
            && BCRYPT_BASE64.encode(digest_bytes) == digest;
        Ok(Self {
            key,
            cost,
            salt: salt_bytes,
            digest: digest_bytes,
            is_own_format: is_own_format && is_canonical,
        })
    }

    /// The computation that verifies a password.
    pub(in crate::passwords) fn input(&self, password: &[u8]) -> Input {
        Input::new(&self.key.of(password, self.salt), self.cost, self.salt)
    }

    /// Compares the computed digest in constant time. A password that bcrypt cannot tell
    /// from another one never matches a plain hash.
    pub(in crate::passwords) fn matches(&self, password: &[u8], computed: &Digest) -> bool {
        let is_equal = self.digest.ct_eq(computed.as_bytes());
        let is_comparable = self.key != Key::Plain || fits_plain(password);
        bool::from(is_equal) && is_comparable
    }

    /// Whether the key is the password itself, of which bcrypt reads 72 bytes.
    pub(super) fn is_plain(&self) -> bool {
        self.key == Key::Plain
    }

    /// Whether no other password matches.
    pub(super) fn is_exact(&self, password: &[u8]) -> bool {
        self.key.is_exact(password)
    }

    /// Whether a new hash of the password would be the same except for the salt.
    pub(in crate::passwords) fn is_current(&self, password: &[u8], cost: u32) -> bool {
        self.is_own_format && self.cost == cost && self.key == Key::for_password(password)
    }
}

/// A hash to store, without the digest.
pub(in crate::passwords) struct NewHash {
    key: Key,
    cost: u32,
    salt: [u8; 16],
}

impl NewHash {
    /// With a random salt, in the format for this password.
    pub(in crate::passwords) fn of(password: &[u8], cost: u32) -> Result<Self, getrandom::Error> {
        Ok(Self {
            key: Key::for_password(password),
            cost,
            salt: random()?,
        })
    }

    /// The computation of the digest.
    pub(in crate::passwords) fn input(&self, password: &[u8]) -> Input {
        Input::new(&self.key.of(password, self.salt), self.cost, self.salt)
    }

    /// The hash to store.
    pub(in crate::passwords) fn with(&self, digest: &Digest) -> HashedPassword {
        let cost = self.cost;
        let salt = BCRYPT_BASE64.encode(self.salt);
        let digest = BCRYPT_BASE64.encode(digest.as_bytes());
        HashedPassword::new(if self.key == Key::Plain {
            format!("{PLAIN}{cost:02}${salt}{digest}")
        } else {
            format!("{PASSLIB}{cost}${salt}${digest}")
        })
    }
}

/// A valid hash without a known password.
pub(in crate::passwords) fn decoy(cost: u32) -> Result<HashedPassword, getrandom::Error> {
    let salt = BCRYPT_BASE64.encode(random::<16>()?);
    let digest = BCRYPT_BASE64.encode(random::<23>()?);
    Ok(HashedPassword::new(format!(
        "{PLAIN}{cost:02}${salt}{digest}"
    )))
}

fn strip_any<'a, const N: usize>(text: &'a str, prefixes: [&str; N]) -> Option<&'a str> {
    prefixes.iter().find_map(|prefix| text.strip_prefix(prefix))
}

fn base64<const N: usize>(text: &str) -> Result<[u8; N], UnreadableHash> {
    let bytes = BCRYPT_BASE64.decode(text).ok();
    bytes
        .and_then(|bytes| bytes.try_into().ok())
        .ok_or(UnreadableHash::Format)
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
    use crate::passwords::stored::blocking::hash;

    fn matches(stored: &str, password: &[u8]) -> bool {
        let hash = BcryptHash::parse(stored).unwrap_or_else(|error| panic!("{stored} {error}"));
        hash_matches(&hash, password)
    }

    fn hash_matches(hash: &BcryptHash, password: &[u8]) -> bool {
        hash.matches(password, &hash.input(password).digest())
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
    fn a_plain_hash_never_matches_a_password_that_bcrypt_confuses_with_it() {
        let stored = hash(b"secret", MIN_COST).unwrap();
        assert!(!matches(stored.expose(), b"secret\0secret"));
        let stored = hash(b"", MIN_COST).unwrap();
        assert!(!matches(stored.expose(), b"\0"));
        let stored = hash(&[b'a'; 72], MIN_COST).unwrap();
        assert!(!matches(stored.expose(), &[b'a'; 73]));
    }

    /// As by passlib's verifiers.
    #[test]
    fn unused_bits_are_ignored_but_outdate_a_hash() {
        let short = "Correct-Horse 7!".to_owned();
        let plain = "$2b$04$x1XYBbymSdfskJpakYDHCempluEfsl20aqVXpxmpsCeh.V4XHTe6O";
        let long = "0123456789".repeat(10);
        let passlib =
            "$bcrypt-sha256$v=2,t=2b,r=4$djV8TTylIB2xDkZZxhFFme$wcjRUAcJGuiquiLUJLXH4sqTCh3R2lK";
        for (stored, password, salt, digest) in [
            (plain, short, ["HCempl", "HChmpl"], ["Te6O", "Te6P"]),
            (passlib, long, ["Fme$", "Fmh$"], ["3R2lK", "3R2lL"]),
        ] {
            let hash = BcryptHash::parse(stored).unwrap();
            assert!(hash.is_current(password.as_bytes(), MIN_COST), "{stored}");
            for [canonical, with_bits] in [salt, digest] {
                let stored = stored.replace(canonical, with_bits);
                let hash = BcryptHash::parse(&stored).unwrap();
                assert!(hash_matches(&hash, password.as_bytes()), "{stored}");
                assert!(!hash_matches(&hash, b"something else"), "{stored}");
                assert!(!hash.is_current(password.as_bytes(), MIN_COST), "{stored}");
            }
        }
    }

    #[test]
    fn damaged_and_too_costly_hashes_are_refused() {
        use UnreadableHash::{Cost, Format};
        let plain = "$2b$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW";
        let sha =
            "$bcrypt-sha256$v=2,t=2b,r=12$n79VH.0Q2TMWmt3Oqt9uku$Kq4Noyk3094Y2QlB8NdRT8SvGiI4ft2";
        let first = "$bcrypt-sha256$2b,4$h6zH20sv/jUXw1W97XrGTe$4UNpAED3xI4MjsrGd/I6tSL4j4Ap.fy";
        for (stored, error) in [
            ("".to_owned(), Format),
            ("secret".to_owned(), Format),
            (plain[..59].to_owned(), Format),
            (plain[..29].to_owned(), Format),
            (format!("{plain}x"), Format),
            (format!("{plain}\n"), Format),
            (plain.replace("$2b", "$2x"), Format),
            (plain.replace("$2b", "$2"), Format),
            (plain.replace("$2b", "$2B"), Format),
            (plain.replace("$05$", "$5$"), Format),
            (plain.replace("$05$", "$+5$"), Format),
            (plain.replace("$05$", "$xx$"), Format),
            (plain.replace("$05$", "$005$"), Format),
            (plain.replace("$05$", "$00$"), Cost(0)),
            (plain.replace("$05$", "$03$"), Cost(3)),
            (plain.replace("$05$", "$17$"), Cost(17)),
            (plain.replace("$05$", "$31$"), Cost(31)),
            (plain.replace("$05$", "$99$"), Cost(99)),
            (plain.replace("$2b$05$", "$2y$17$"), Cost(17)),
            (plain.replace("E5YP", "E5Y!"), Format),
            (plain.replace("E5YP", "E5Y="), Format),
            (plain.replace("E5YP", "E5Y\u{E9}"), Format),
            (plain.replace("CC.E5", "C\u{E9}E5"), Format),
            (sha.replace("r=12", "r=012"), Format),
            (sha.replace("r=12", "r=31"), Cost(31)),
            (sha.replace("r=12", "r=+9"), Format),
            (sha.replace("r=12", "r="), Format),
            (sha.replace("v=2", "v=1"), Format),
            (sha.replace("v=2", "v=3"), Format),
            (sha.replace("t=2b", "t=2a"), Format),
            (sha.replace("t=2b,r=12", "r=12,t=2b"), Format),
            (format!("{sha}$"), Format),
            (sha[..sha.len() - 1].to_owned(), Format),
            (first.replace("2b,4", "2b,04"), Format),
            (first.replace("2b,4", "2y,4"), Format),
            (first.replace("2b,4", "2b,17"), Cost(17)),
            (first.replace("2b,4", "2b,3"), Cost(3)),
            (first.replace("2b,4", "2b"), Format),
            (format!("bcrypt{plain}"), Format),
            (format!("bcrypt$x{plain}"), Format),
            (format!("bcrypt_sha256{plain}"), Format),
            (format!("bcrypt_sha256$bcrypt${plain}"), Format),
            (format!("bcrypt_sha256${sha}"), Format),
            (format!("$wp${plain}"), Format),
            (format!("$wp{sha}"), Format),
            (format!("wp{plain}"), Format),
            (format!("$wp{plain}").replace("$05$", "$17$"), Cost(17)),
            (
                format!("bcrypt_sha256${plain}").replace("$05$", "$17$"),
                Cost(17),
            ),
        ] {
            assert_eq!(BcryptHash::parse(&stored).err(), Some(error), "{stored}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn plain_hashes_are_compatible_with_the_bcrypt_crate(password in proptest::collection::vec(1_u8.., 0..=72)) {
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
    }
}
