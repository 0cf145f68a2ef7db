//! Peppers: secrets that other services mixed into each password before hashing it. A hash
//! of such a service is stored with the name of its scheme as a prefix,
//! `flask-security+$2b$…`. The secret itself is not stored in a database.

use std::{fmt, sync::Arc};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bcrypt_lanes::MAX_KEY_BYTES;
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha512;
use zeroize::Zeroizing;

use super::{Family, key::fits_plain};

/// The separator between the name of a scheme and the hash.
const SEPARATOR: char = '+';

/// The way in which a service mixes its secret into a password.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PepperScheme {
    /// Hashes the base64 of the password's HMAC-SHA512, keyed with
    /// `SECURITY_PASSWORD_SALT`.
    FlaskSecurity,
    /// Hashes the password followed by `config.pepper`.
    Devise,
}

/// The secret of another service.
#[derive(Clone)]
pub struct Pepper(Arc<Zeroizing<String>>);

impl Pepper {
    /// Wraps the secret.
    pub fn new(secret: Zeroizing<String>) -> Self {
        Self(Arc::new(secret))
    }
}

impl fmt::Debug for Pepper {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Pepper(…)")
    }
}

impl fmt::Display for PepperScheme {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl PepperScheme {
    /// All schemes.
    pub const ALL: [Self; 2] = [Self::FlaskSecurity, Self::Devise];

    /// The name in settings and stored hashes.
    pub fn name(self) -> &'static str {
        match self {
            Self::FlaskSecurity => "flask-security",
            Self::Devise => "devise",
        }
    }

    /// Splits a stored hash into the scheme and the hash; `None` if it has no scheme.
    pub(super) fn split(stored: &str) -> Option<(Self, &str)> {
        let (name, hash) = stored.split_once(SEPARATOR)?;
        let scheme = Self::ALL.into_iter().find(|scheme| scheme.name() == name)?;
        Some((scheme, hash))
    }

    /// The prefix of stored hashes of this scheme.
    pub(super) fn prefix(self) -> String {
        format!("{}{SEPARATOR}", self.name())
    }

    /// Whether services with this scheme use the pepper for such a hash. Flask-Security does
    /// not use it for Django's formats (`SECURITY_PASSWORD_SINGLE_HASH`); Devise supports
    /// bcrypt only.
    pub(super) fn applies_to(self, hash: &str) -> bool {
        hash.starts_with(match self {
            Self::FlaskSecurity => "$",
            Self::Devise => "$2",
        })
    }

    /// The input that the service hashed in place of a password. For plain bcrypt it is
    /// truncated to 72 bytes, as it was there.
    pub(super) fn mix(
        self,
        Pepper(pepper): &Pepper,
        password: &[u8],
        family: &Family,
    ) -> Zeroizing<Vec<u8>> {
        let mut mixed = match self {
            Self::FlaskSecurity => {
                let mut mac = Hmac::<Sha512>::new_from_slice(pepper.as_bytes())
                    .expect("HMAC takes a key of any length");
                mac.update(password);
                Zeroizing::new(STANDARD.encode(mac.finalize().into_bytes()).into_bytes())
            }
            Self::Devise => Zeroizing::new([password, pepper.as_bytes()].concat()),
        };
        // A longer password would itself be truncated. It keeps its length, and so does not
        // match a plain hash.
        let is_whole = self == Self::FlaskSecurity || fits_plain(password);
        if is_whole && family.is_plain_bcrypt() {
            mixed.truncate(MAX_KEY_BYTES);
        }
        mixed
    }
}
