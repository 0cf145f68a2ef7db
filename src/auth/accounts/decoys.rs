//! Decoys: the stored hashes against which logins with unknown e-mails are checked.

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;

use crate::auth::{Auth, AuthError};
use crate::{
    db::ServerKey,
    domain::{DecoySlot, Email},
    passwords,
};

/// Assigns each e-mail a slot in the sample of users. The password of an unknown e-mail is
/// checked against the hash of that slot's user: always the same one for an e-mail, on
/// every node and after every restart, and over all e-mails in the same mix of formats and
/// costs as the stored hashes. Decoys of the configured cost alone would tell unknown
/// e-mails from users with an older hash.
#[derive(Clone)]
pub(in crate::auth) struct Decoys {
    key: ServerKey,
}

impl Decoys {
    pub(in crate::auth) fn new(key: ServerKey) -> Self {
        Self { key }
    }

    /// The slot of an e-mail, unpredictable without the key.
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
    /// Updates the sample of users from which decoys come, and returns whether more users
    /// are to be considered. Nodes with a common database share the sample.
    ///
    /// # Errors
    ///
    /// `Unavailable`, `Internal`.
    pub async fn sample_decoys(&self) -> Result<bool, AuthError> {
        Ok(self.db.sample_decoys().await?)
    }

    /// Warns if users were imported with a pepper missing from the settings, so that they cannot
    /// log in. Their share is estimated from the sample, since a scan of a large table would
    /// take long.
    pub async fn warn_of_missing_pepper(&self) {
        if self.passwords.has_pepper() {
            return;
        }
        let prefixes = passwords::pepper_prefixes().collect();
        let percent = match self.db.percent_of_decoys(prefixes).await {
            Ok(percent) => percent.filter(|percent| *percent > 0.0),
            // Other work on the database reports its errors.
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
