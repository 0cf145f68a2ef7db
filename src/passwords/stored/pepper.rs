//! Peppers: secrets of another service, which it mixed into each password before it hashed
//! it. The hash of such a service is stored with the name of its scheme before it,
//! `flask-security+$2b$…`; the secret itself is in no database.

use std::{fmt, sync::Arc};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha512;
use zeroize::Zeroizing;

use super::{Family, key::fits_plain};
use crate::passwords::kernel::MAX_KEY_BYTES;

/// What stands between the name of a scheme and the hash.
const SEPARATOR: char = '+';

/// How a service mixes its secret in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PepperScheme {
    /// Base64 of the HMAC-SHA512 of the password, keyed with `SECURITY_PASSWORD_SALT`, is
    /// hashed instead of the password.
    FlaskSecurity,
    /// `config.pepper` stands behind the password.
    Devise,
}

/// The secret.
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
    /// Every one.
    pub const ALL: [Self; 2] = [Self::FlaskSecurity, Self::Devise];

    /// How settings and stored hashes name it.
    pub fn name(self) -> &'static str {
        match self {
            Self::FlaskSecurity => "flask-security",
            Self::Devise => "devise",
        }
    }

    /// Takes its name apart from the hash behind it; `None` where there is no name.
    pub(super) fn split(stored: &str) -> Option<(Self, &str)> {
        let (name, hash) = stored.split_once(SEPARATOR)?;
        let scheme = Self::ALL.into_iter().find(|scheme| scheme.name() == name)?;
        Some((scheme, hash))
    }

    /// What a stored hash of this scheme begins with.
    pub(super) fn prefix(self) -> String {
        format!("{}{SEPARATOR}", self.name())
    }

    /// Whether a service with this scheme mixes its secret into the passwords behind such
    /// hashes. Flask-Security hashes in one go what it stores in Django's formats
    /// (`SECURITY_PASSWORD_SINGLE_HASH`); Devise knows bcrypt alone.
    pub(super) fn is_in(self, hash: &str) -> bool {
        hash.starts_with(match self {
            Self::FlaskSecurity => "$",
            Self::Devise => "$2",
        })
    }

    /// What the service hashed in place of a password. Plain bcrypt reads no more than 72
    /// bytes of that, as it did there.
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
        // A password that leaves no room for the pepper would be cut off itself: what does
        // not fit matches no plain hash.
        let is_whole = self == Self::FlaskSecurity || fits_plain(password);
        if is_whole && family.is_plain_bcrypt() {
            mixed.truncate(MAX_KEY_BYTES);
        }
        mixed
    }
}
