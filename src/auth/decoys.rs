//! What to work against for an e-mail that has no account.

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;

use super::{Auth, AuthError};
use crate::{
    db::ServerKey,
    domain::{DecoySlot, Email},
};

/// Picks a slot in the sample of users for each e-mail. A login with an unknown e-mail
/// is compared with the stored hash of that slot's user: always the same one for one
/// e-mail, on every node and after every restart, and over all e-mails in the mix of
/// formats and costs that is stored. A decoy at the configured cost alone would tell
/// unknown e-mails from users whose hash is older than the setting.
#[derive(Clone)]
pub(super) struct Decoys {
    key: ServerKey,
}

impl Decoys {
    pub(super) fn new(key: ServerKey) -> Self {
        Self { key }
    }

    /// The slot of an e-mail, which nobody without the key can foretell.
    pub(super) fn slot(&self, email: &Email) -> DecoySlot {
        let mut mac = Hmac::<Sha256>::new_from_slice(self.key.as_bytes())
            .expect("HMAC takes a key of any length");
        mac.update(email.as_str().as_bytes());
        let digest: [u8; 32] = mac.finalize().into_bytes().into();
        let (first, _) = digest.split_first_chunk().unwrap_or((&[0; 8], &[]));
        DecoySlot::from_random(u64::from_be_bytes(*first))
    }
}

impl Auth {
    /// Has the sample of users that decoys come from follow the users; returns whether
    /// there are more to consider. Nodes that share a database share the sample.
    ///
    /// # Errors
    ///
    /// `Unavailable`, `Internal`.
    pub async fn sample_decoys(&self) -> Result<bool, AuthError> {
        Ok(self.db.sample_decoys().await?)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn an_email_keeps_its_slot_and_emails_differ() {
        let email = |n: usize| Email::parse(&format!("user{n}@example.com")).unwrap();
        let [one, same, other] =
            [[1; 32], [1; 32], [2; 32]].map(|key| Decoys::new(ServerKey::for_tests(key)));
        let mut slots = HashSet::new();
        let mut equal = 0;
        for n in 0..1_000 {
            let slot = one.slot(&email(n));
            assert_eq!(
                same.slot(&email(n)),
                slot,
                "another node picks another slot"
            );
            equal += usize::from(other.slot(&email(n)) == slot);
            slots.insert(slot);
        }
        assert!(slots.len() > 800, "{} slots", slots.len());
        assert!(equal < 20, "{equal} slots are the same under another key");
    }
}
