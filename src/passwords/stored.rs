//! The formats of stored hashes: the two formats that this service writes, and those of
//! other services, which are read so that their users can be imported.
//!
//! The cost of a hash is limited for each format, to a few seconds of a core (bcrypt's
//! highest cost takes the longest) and 128 MiB.

mod argon2;
mod bcrypt;
#[cfg(test)]
mod blocking;
mod fields;
mod key;
mod limits;
mod pbkdf2;
mod pepper;
#[cfg(test)]
mod published_vectors;
mod scrypt;
mod unreadable;
#[cfg(test)]
mod vectors;

use std::sync::Arc;

use zeroize::Zeroizing;

pub(super) use self::bcrypt::{BcryptHash, NewHash, decoy};
use self::{argon2::Argon2Hash, pbkdf2::Pbkdf2Hash, scrypt::ScryptHash};
pub use self::{
    limits::{MAX_COST, MIN_COST},
    pepper::{Pepper, PepperScheme},
    unreadable::UnreadableHash,
};
use crate::domain::{HashedPassword, Password};

/// The result of comparing a password with a stored hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The password is wrong.
    Wrong,
    /// The password is right.
    Right,
    /// The password is right, and the stored hash should be replaced: it has another cost
    /// or a foreign format, or its password is not in NFC.
    Outdated,
}

/// A parsed hash.
pub(super) struct StoredHash {
    pub(super) family: Family,
    /// The pepper of the service that made the hash.
    pepper: Option<(PepperScheme, Pepper)>,
}

/// The hash function.
pub(super) enum Family {
    Bcrypt(BcryptHash),
    Foreign(Arc<ForeignHash>),
}

/// A hash not based on bcrypt.
pub(super) enum ForeignHash {
    Argon2(Argon2Hash),
    Pbkdf2(Pbkdf2Hash),
    Scrypt(ScryptHash),
}

impl StoredHash {
    /// Parses a stored hash, with the configured pepper.
    pub(super) fn parse(stored: &str, pepper: Option<&Pepper>) -> Result<Self, UnreadableHash> {
        if stored == HashedPassword::NONE {
            return Err(UnreadableHash::NoPassword);
        }
        let Some((scheme, hash)) = PepperScheme::split(stored) else {
            return Ok(Self {
                family: Family::parse(stored)?,
                pepper: None,
            });
        };
        let family = Family::parse(hash)?;
        let pepper = pepper.ok_or(UnreadableHash::NoPepper(scheme))?;
        Ok(Self {
            family,
            pepper: Some((scheme, pepper.clone())),
        })
    }

    /// The input that the original service hashed for this password: with its pepper, where
    /// it used one.
    pub(super) fn with_pepper(&self, password: &[u8]) -> Zeroizing<Vec<u8>> {
        match &self.pepper {
            Some((scheme, pepper)) => scheme.mix(pepper, password, &self.family),
            None => Zeroizing::new(password.to_owned()),
        }
    }

    /// The verdict for a password that matches in NFC, or in the form in which it was
    /// presented, which other services did not normalise.
    pub(super) fn verdict(
        &self,
        password: &Password,
        cost: u32,
        matches: bool,
        matches_presented: bool,
    ) -> Verdict {
        let (is_current, is_exact) = match &self.family {
            Family::Bcrypt(hash) => (
                self.pepper.is_none() && hash.is_current(password.as_bytes(), cost),
                hash.is_exact(password.as_bytes()),
            ),
            Family::Foreign(_) => (false, true),
        };
        match (matches, matches_presented) {
            (true, _) if is_current => Verdict::Right,
            (false, false) => Verdict::Wrong,
            _ if !is_exact => Verdict::Right,
            _ => Verdict::Outdated,
        }
    }
}

impl Family {
    fn parse(stored: &str) -> Result<Self, UnreadableHash> {
        let starts_with = |prefix: &&str| stored.starts_with(*prefix);
        let foreign = if argon2::PREFIXES.iter().any(starts_with) {
            ForeignHash::Argon2(Argon2Hash::parse(stored)?)
        } else if Pbkdf2Hash::recognises(stored) {
            ForeignHash::Pbkdf2(Pbkdf2Hash::parse(stored)?)
        } else if scrypt::PREFIXES.iter().any(starts_with) {
            ForeignHash::Scrypt(ScryptHash::parse(stored)?)
        } else {
            return BcryptHash::parse(stored).map(Self::Bcrypt);
        };
        Ok(Self::Foreign(Arc::new(foreign)))
    }

    fn is_plain_bcrypt(&self) -> bool {
        matches!(self, Self::Bcrypt(hash) if hash.is_plain())
    }
}

/// Checks whether a stored hash can be verified. A missing pepper is not an error.
///
/// # Errors
///
/// If its format is unknown, it is damaged, its cost exceeds the limits, or it stands for
/// an account without a password.
pub fn check(stored: &str) -> Result<(), UnreadableHash> {
    match StoredHash::parse(stored, None) {
        Ok(_) | Err(UnreadableHash::NoPepper(_)) => Ok(()),
        Err(unreadable) => Err(unreadable),
    }
}

/// Converts the hash of a service with a pepper to its stored form: prefixed with the name
/// of the scheme, if the service uses the pepper for such a hash.
pub fn peppered(hash: &str, scheme: PepperScheme) -> HashedPassword {
    HashedPassword::new(if scheme.applies_to(hash) {
        format!("{}{hash}", scheme.prefix())
    } else {
        hash.to_owned()
    })
}

/// The prefixes of stored hashes that were made with a pepper.
pub fn pepper_prefixes() -> impl Iterator<Item = String> {
    PepperScheme::ALL.into_iter().map(PepperScheme::prefix)
}

impl ForeignHash {
    /// Compares in constant time. The work depends on the stored parameters.
    pub(super) fn matches(&self, password: &[u8]) -> bool {
        match self {
            Self::Argon2(hash) => hash.matches(password),
            Self::Pbkdf2(hash) => hash.matches(password),
            Self::Scrypt(hash) => hash.matches(password),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{blocking::hash, vectors::VECTORS, *};

    #[test]
    fn outdated_hashes_are_recognised() {
        let long = "long".repeat(30);
        let at = |password: &str, cost| hash(password.as_bytes(), cost).unwrap();
        let short_by_passlib =
            "$bcrypt-sha256$v=2,t=2b,r=4$CtNbC1gOH5obCSB4cBPtuO$GYpY8DS3gC1CqR56BvUCZ.gj6WCfWBW";
        for (stored, password, cost, expected) in [
            (at("short", 4).expose(), "short", 4, Verdict::Right),
            (at("short", 4).expose(), "short", 5, Verdict::Outdated),
            (at("short", 5).expose(), "short", 4, Verdict::Outdated),
            (at(&long, 4).expose(), &long, 4, Verdict::Right),
            (at(&long, 4).expose(), &long, 5, Verdict::Outdated),
            (short_by_passlib, "Correct-Horse 7!", 4, Verdict::Outdated),
            (
                &at("short", 4).expose().replace("$2b$", "$2y$"),
                "short",
                4,
                Verdict::Outdated,
            ),
            // The hash of a password in NFC, for any presented form.
            (at("\u{E9}", 4).expose(), "e\u{301}", 4, Verdict::Right),
            (at("e\u{301}", 4).expose(), "e\u{301}", 4, Verdict::Outdated),
            (at("e\u{301}", 4).expose(), "\u{E9}", 4, Verdict::Wrong),
            (at("short", 5).expose(), "Short", 4, Verdict::Wrong),
        ] {
            let stored_hash = StoredHash::parse(stored, None).unwrap();
            let verdict =
                blocking::verdict(&stored_hash, &Password::new(password.to_owned()), cost);
            assert_eq!(verdict, expected, "{stored} {password}");
        }
    }

    #[test]
    fn unknown_formats_are_refused() {
        for stored in [
            "",
            "secret",
            "$1$salt$digest",
            "$argon2i$v=19$m=16,t=2,p=2$Ghug1t8j4gMIFeT9yGeyYw$jysOFb4bfClwgJlP8ourvA",
            "$scrypt$ln=16,r=8,p=1$aM15713r3Xsvxbi31lqr1Q$nFNh2CVHVjNldFVKDHDlm4CbdRSCdEBsjjJxD",
            "pbkdf2_sha1$7$irGCDqRlY3hm$E9n3w2GUtlrKuCnnD+JrzMQWAg==",
            "pbkdf2_sha512$7$irGCDqRlY3hm$E9n3w2GUtlrKuCnnD+JrzMQWAhs=",
            "pbkdf2:sha512:10$W8XbwaHc$45a3",
            "$P$BEMEtEjOZqXXu.WnRFQbBNyHrkHgWk0",
            "!unusable",
            "flask-security+",
            "flask-security+devise+$2b$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW",
            "pepper+$2b$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW",
            " $2b$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW",
        ] {
            assert_eq!(
                StoredHash::parse(stored, None).err(),
                Some(UnreadableHash::Format),
                "{stored}"
            );
        }
    }

    #[test]
    fn missing_passwords_and_peppers_have_errors_of_their_own() {
        let plain = "$2b$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW";
        let unreadable = |stored: &str| StoredHash::parse(stored, None).err();
        assert_eq!(unreadable("!"), Some(UnreadableHash::NoPassword));
        assert_eq!(check("!"), Err(UnreadableHash::NoPassword));
        for scheme in PepperScheme::ALL {
            let stored = peppered(plain, scheme);
            let stored = stored.expose();
            assert_eq!(unreadable(stored), Some(UnreadableHash::NoPepper(scheme)));
            assert_eq!(check(stored), Ok(()));
            assert_eq!(
                check(&stored[..stored.len() - 1]),
                Err(UnreadableHash::Format)
            );
            assert!(pepper_prefixes().any(|prefix| stored.starts_with(&prefix)));
        }
        let single = "bcrypt_sha256$$2b$04$V0gYtaHIhuz8N8tadU.thuqkpm.j6/7rGouXQsRPGLDIxc5t.VjQ2";
        assert_eq!(
            peppered(single, PepperScheme::FlaskSecurity).expose(),
            single
        );
    }

    proptest! {
        #[test]
        fn no_stored_hash_panics(text in any::<String>()) {
            let _ = StoredHash::parse(&text, None);
        }

        #[test]
        fn no_damaged_hash_panics(
            vector in 0..VECTORS.len(),
            at in any::<prop::sample::Index>(),
            cut in 0..4_usize,
            inserted in "[$,:=./+A-Za-z0-9\u{E9}\u{0}]{0,4}",
        ) {
            let mut damaged: Vec<char> = VECTORS[vector].0.chars().collect();
            let at = at.index(damaged.len());
            let end = damaged.len().min(at + cut);
            damaged.splice(at..end, inserted.chars());
            let _ = StoredHash::parse(&damaged.into_iter().collect::<String>(), None);
        }
    }
}
