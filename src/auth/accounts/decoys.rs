//! What to work against for an e-mail that has no account.

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;

use crate::auth::{Auth, AuthError};
use crate::{
    db::ServerKey,
    domain::{DecoySlot, Email},
    passwords,
};

/// Picks a slot in the sample of users for each e-mail. A login with an unknown e-mail
/// is compared with the stored hash of that slot's user: always the same one for one
/// e-mail, on every node and after every restart, and over all e-mails in the mix of
/// formats and costs that is stored. A decoy at the configured cost alone would tell
/// unknown e-mails from users whose hash is older than the setting.
#[derive(Clone)]
pub(in crate::auth) struct Decoys {
    key: ServerKey,
}

impl Decoys {
    pub(in crate::auth) fn new(key: ServerKey) -> Self {
        Self { key }
    }

    /// The slot of an e-mail, which nobody without the key can foretell.
    pub(in crate::auth) fn slot(&self, email: &Email) -> DecoySlot {
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

    /// Says in the log where users cannot log in since the pepper is not set that their
    /// passwords were imported with. The sample stands for all users: to look at each of
    /// them would take long on a large table.
    pub async fn warn_of_missing_pepper(&self) {
        if self.passwords.has_pepper() {
            return;
        }
        let prefixes = passwords::pepper_prefixes().collect();
        let percent = match self.db.percent_of_decoys(prefixes).await {
            Ok(percent) => percent.filter(|percent| *percent > 0.0),
            // What needs the database says so where it matters.
            Err(_) => None,
        };
        if let Some(percent) = percent {
            tracing::warn!(
                users = format!("about {percent:.1} %"),
                "pepper-file is not set, and some users were imported with a pepper: they cannot \
                 log in until it is, or until they set a new password by mail"
            );
        }
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
