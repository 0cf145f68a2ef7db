//! What to work against for an e-mail that has no account.

use std::sync::Arc;

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;
use zeroize::Zeroizing;

use crate::domain::Email;

/// Picks, for an unknown e-mail, the stored hash of some user: always the same
/// one for an e-mail, and over all e-mails in the mix of costs that is stored.
/// A decoy at the configured cost alone would tell unknown e-mails from users
/// whose hash is older than the setting.
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

    /// The number of an e-mail's decoy, which nobody outside can foretell.
    pub(super) fn number(&self, email: &Email) -> u32 {
        let mut mac = Hmac::<Sha256>::new_from_slice(self.key.as_ref().as_ref())
            .expect("HMAC takes a key of any length");
        mac.update(email.as_str().as_bytes());
        let [a, b, c, d, ..]: [u8; 32] = mac.finalize().into_bytes().into();
        u32::from_be_bytes([a, b, c, d])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_email_keeps_its_decoy_and_emails_differ() {
        let decoys = Decoys::new().unwrap();
        let email = |n: usize| Email::parse(&format!("user{n}@example.com")).unwrap();
        let numbers: Vec<u32> = (0..1_000).map(|n| decoys.number(&email(n))).collect();
        assert_eq!(decoys.number(&email(7)), numbers[7]);
        let high = numbers
            .iter()
            .filter(|number| **number > u32::MAX / 2)
            .count();
        assert!((400..600).contains(&high), "{high}");
    }
}
