//! What to work against for an e-mail that has no account.

use std::sync::{Arc, PoisonError, RwLock};

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;
use zeroize::Zeroizing;

use super::{Auth, AuthError};
use crate::domain::{Email, HashedPassword};

/// How many users' hashes stand for all: enough that a rare kind of hash is
/// among them about as often as among the users.
const SAMPLE: u32 = 256;

/// Picks, for an unknown e-mail, the stored hash of some user: always one of a
/// kind for an e-mail, and over all e-mails in the mix of formats and costs that
/// is stored. A decoy at the configured cost alone would tell unknown e-mails
/// from users whose hash is older than the setting.
#[derive(Clone)]
pub(super) struct Decoys {
    key: Arc<Zeroizing<[u8; 32]>>,
    sample: Arc<RwLock<Vec<HashedPassword>>>,
}

impl Decoys {
    pub(super) fn new() -> Result<Self, getrandom::Error> {
        let mut key = Zeroizing::new([0; 32]);
        getrandom::fill(key.as_mut())?;
        Ok(Self {
            key: Arc::new(key),
            sample: Arc::default(),
        })
    }

    /// An e-mail's decoy, which nobody outside can foretell; `None` where there
    /// are no users yet.
    pub(super) fn pick(&self, email: &Email) -> Option<HashedPassword> {
        let sample = self.sample.read().unwrap_or_else(PoisonError::into_inner);
        let share = u128::from(self.number(email)) * u128::try_from(sample.len()).ok()?;
        sample.get(usize::try_from(share >> 64).ok()?).cloned()
    }

    /// The hashes are sorted, which puts those of one format and cost beside
    /// each other: so an e-mail that is nobody's keeps its kind of decoy from
    /// one sample to the next, as a user keeps theirs.
    fn replace(&self, mut hashes: Vec<HashedPassword>) {
        hashes.sort_unstable_by(|one, other| one.expose().cmp(other.expose()));
        *self.sample.write().unwrap_or_else(PoisonError::into_inner) = hashes;
    }

    fn number(&self, email: &Email) -> u64 {
        let mut mac = Hmac::<Sha256>::new_from_slice(self.key.as_ref().as_ref())
            .expect("HMAC takes a key of any length");
        mac.update(email.as_str().as_bytes());
        let digest: [u8; 32] = mac.finalize().into_bytes().into();
        digest
            .iter()
            .take(8)
            .fold(0, |number, byte| number << 8 | u64::from(*byte))
    }
}

impl Auth {
    /// Takes a new sample of the stored hashes for refused logins to work
    /// against.
    ///
    /// # Errors
    ///
    /// `Unavailable`, `Internal`.
    pub async fn sample_decoys(&self) -> Result<(), AuthError> {
        self.decoys
            .replace(self.db.sample_hashed_passwords(SAMPLE).await?);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    #[test]
    fn an_email_keeps_its_decoy_and_emails_differ() {
        let decoys = Decoys::new().unwrap();
        let email = |n: usize| Email::parse(&format!("user{n}@example.com")).unwrap();
        assert!(decoys.pick(&email(0)).is_none());
        decoys.replace(
            ["old", "old", "old", "new"]
                .map(|text| HashedPassword::new(text.to_owned()))
                .to_vec(),
        );
        let mut picked: HashMap<String, usize> = HashMap::new();
        for n in 0..1_000 {
            let decoy = decoys.pick(&email(n)).unwrap();
            assert_eq!(decoys.pick(&email(n)), Some(decoy.clone()));
            *picked.entry(decoy.expose().to_owned()).or_default() += 1;
        }
        assert!((650..850).contains(&picked["old"]), "{picked:?}");
    }
}
