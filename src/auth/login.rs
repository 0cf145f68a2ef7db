//! Checking an address and its password.

use std::sync::Arc;

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;
use zeroize::Zeroizing;

use super::{Auth, AuthError, Field};
use crate::{
    db::UserBy,
    domain::{Email, Password, User},
    passwords::PasswordsError,
};

impl Auth {
    /// The user whose address and password these are.
    ///
    /// Known and unknown addresses take the same path: the same look-ups, one
    /// verification, the same answer.
    ///
    /// # Errors
    ///
    /// `InvalidField`, `InvalidCredentials`, `Overloaded`, `Unavailable`,
    /// `Internal`.
    pub async fn valid_login(&self, email: &str, password: String) -> Result<User, AuthError> {
        let email =
            Email::parse(email).map_err(|error| AuthError::invalid(Field::Email, &error))?;
        if password.is_empty() {
            return Err(AuthError::invalid(Field::Password, &"is missing"));
        }
        let sampled = self
            .db
            .sample_hashed_password(self.decoys.point(&email))
            .await?;
        let user = self.db.find_user_by(UserBy::Email(email)).await?;
        let stored = match &user {
            Some(user) => user.hashed_password.clone(),
            None => sampled.unwrap_or_else(|| self.passwords.decoy()),
        };
        let verdict = self.passwords.verify(Password::new(password), stored).await;
        match (verdict, user) {
            (Ok(true), Some(user)) => Ok(user),
            (Ok(_), _) => Err(AuthError::InvalidCredentials),
            // An answer of its own would tell that the account exists.
            (Err(PasswordsError::Unreadable(why)), user) => {
                if let Some(user) = user {
                    tracing::error!(
                        user_id = user.id.0,
                        "the stored password cannot be used, {why}: this user has to set a new one"
                    );
                }
                Err(AuthError::InvalidCredentials)
            }
            (Err(error), _) => Err(error.into()),
        }
    }
}

/// Picks, for an unknown address, the stored hash of some user to work
/// against: always the same one for an address, and over all addresses in the
/// mix of costs that is stored. A decoy at the configured cost alone would tell
/// unknown addresses from users whose hash is older than the setting.
#[derive(Clone)]
pub(super) struct Decoys {
    key: Arc<Zeroizing<[u8; 32]>>,
}

impl Decoys {
    pub(super) fn new() -> Result<Self, getrandom::Error> {
        let mut key = Zeroizing::new([0; 32]);
        getrandom::fill(key.as_mut())?;
        Ok(Self { key: Arc::new(key) })
    }

    /// Where among all users, from 0 to 1.
    fn point(&self, email: &Email) -> f64 {
        let mut mac = Hmac::<Sha256>::new_from_slice(self.key.as_ref().as_ref())
            .expect("HMAC takes a key of any length");
        mac.update(email.as_str().as_bytes());
        let digest = mac.finalize().into_bytes();
        let (head, _) = digest.split_at(4);
        let head = head.iter().fold(0_u32, |n, byte| n << 8 | u32::from(*byte));
        f64::from(head) / f64::from(u32::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_keeps_its_decoy_and_addresses_differ() {
        let decoys = Decoys::new().unwrap();
        let email = |n: usize| Email::parse(&format!("user{n}@example.com")).unwrap();
        let points: Vec<f64> = (0..1_000).map(|n| decoys.point(&email(n))).collect();
        assert!((decoys.point(&email(7)) - points[7]).abs() < f64::EPSILON);
        let mean = points.iter().sum::<f64>() / 1_000.0;
        assert!((0.4..0.6).contains(&mean), "{mean}");
    }
}
