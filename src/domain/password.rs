//! Passwords: presented, new and stored ones.

use std::{fmt, sync::Arc};

use thiserror::Error;
use unicode_normalization::{UnicodeNormalization as _, is_nfc};
use zeroize::Zeroizing;

use super::{Email, common_passwords};

/// The longest password that can be set, in bytes of UTF-8 as sent.
const MAX_BYTES: usize = 1_024;

/// A presented password in Unicode form NFC (NIST SP 800-63B-4, 3.1.1.2), the form in which
/// it is stored, and otherwise unchanged. Clones share the memory, which is wiped with the
/// last one.
#[derive(Clone)]
pub struct Password(Arc<Forms>);

struct Forms {
    normalized: Zeroizing<String>,
    /// The presented form, if it differs.
    unnormalized: Option<Zeroizing<String>>,
}

impl Password {
    /// Accepts any text: an invalid password matches no hash.
    pub fn new(presented: String) -> Self {
        let presented = Zeroizing::new(presented);
        Self(Arc::new(if is_nfc(&presented) {
            Forms {
                normalized: presented,
                unnormalized: None,
            }
        } else {
            // A growing string would leave copies behind. NFC takes at most three times the
            // bytes (Unicode's FAQ on normalization).
            let mut normalized = Zeroizing::new(String::with_capacity(3 * presented.len()));
            normalized.extend(presented.nfc());
            Forms {
                normalized,
                unnormalized: Some(presented),
            }
        }))
    }

    /// The bytes of the NFC form, to be hashed.
    pub fn as_bytes(&self) -> &[u8] {
        self.as_str().as_bytes()
    }

    /// The presented bytes, if they were not in NFC. Another service may have hashed those.
    pub fn unnormalized(&self) -> Option<&[u8]> {
        let presented = self.0.unnormalized.as_ref();
        presented.map(|presented| presented.as_bytes())
    }

    fn as_str(&self) -> &str {
        &self.0.normalized
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Password(…)")
    }
}

/// A password that satisfies the policy.
#[derive(Debug)]
pub struct NewPassword(Password);

impl NewPassword {
    /// Whether the two are equal.
    pub fn is(&self, other: &Password) -> bool {
        self.0.as_bytes() == other.as_bytes()
    }
}

impl From<NewPassword> for Password {
    fn from(admitted: NewPassword) -> Self {
        admitted.0
    }
}

/// The policy for new passwords. It does not apply to logins: a password set earlier keeps
/// working.
#[derive(Clone, Copy, Debug)]
pub struct PasswordPolicy {
    /// The minimum length in code points, after NFC.
    pub min_length: usize,
}

/// Why a password cannot be set, for the user.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum PasswordPolicyError {
    /// The text is empty.
    #[error("is missing")]
    Missing,
    /// Fewer code points than the minimum.
    #[error("is too short: at least {min_length} characters")]
    TooShort {
        /// The minimum, in code points.
        min_length: usize,
    },
    /// Over 1,024 bytes.
    #[error("is too long: at most 1,024 bytes")]
    TooLong,
    /// A control character, which other keyboards or forms may not reproduce.
    #[error("holds a control character; anything else is welcome")]
    ControlCharacter,
    /// On the list of common passwords.
    #[error("is one that everybody tries first; choose another, such as a few unrelated words")]
    Common,
    /// Equal to the current password.
    #[error("is the current password; choose another")]
    Unchanged,
    /// Equal to the account's e-mail.
    #[error("is the e-mail address itself; choose another, such as a few unrelated words")]
    IsEmail,
}

impl PasswordPolicy {
    /// Checks a new password for the account of `email`. No rule asks for particular kinds
    /// of characters (NIST SP 800-63B-4, 3.1.1.2).
    ///
    /// # Errors
    ///
    /// The first violated rule.
    pub fn admit(&self, chosen: String, email: &Email) -> Result<NewPassword, PasswordPolicyError> {
        if chosen.is_empty() {
            return Err(PasswordPolicyError::Missing);
        }
        if chosen.len() > MAX_BYTES {
            return Err(PasswordPolicyError::TooLong);
        }
        let password = Password::new(chosen);
        let text = password.as_str();
        if text.chars().any(char::is_control) {
            return Err(PasswordPolicyError::ControlCharacter);
        }
        if text.chars().count() < self.min_length {
            return Err(PasswordPolicyError::TooShort {
                min_length: self.min_length,
            });
        }
        if Email::parse(text).as_ref() == Ok(email) {
            return Err(PasswordPolicyError::IsEmail);
        }
        if common_passwords::contains(text) {
            return Err(PasswordPolicyError::Common);
        }
        Ok(NewPassword(password))
    }
}

/// A stored hash. Only `passwords` parses it; elsewhere it is a secret.
#[derive(Clone, PartialEq, Eq)]
pub struct HashedPassword(String);

impl HashedPassword {
    /// The stored value of an account without a password. No password matches it until the
    /// owner sets one with a reset token.
    pub const NONE: &str = "!";

    /// The value of an account without a password.
    pub fn none() -> Self {
        Self(Self::NONE.to_owned())
    }

    /// Wraps a computed or stored hash.
    pub fn new(stored: String) -> Self {
        Self(stored)
    }

    /// The text to parse or to store.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for HashedPassword {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("HashedPassword(…)")
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn admit(chosen: &str) -> Result<NewPassword, PasswordPolicyError> {
        let email = Email::parse("ada@example.com").unwrap();
        PasswordPolicy { min_length: 8 }.admit(chosen.to_owned(), &email)
    }

    #[test]
    fn the_policy_is_applied() {
        let short = PasswordPolicyError::TooShort { min_length: 8 };
        for (chosen, error) in [
            ("", PasswordPolicyError::Missing),
            ("sevench", short),
            // Seven code points after NFC, fourteen before.
            (&"e\u{301}".repeat(7), short),
            (&"x".repeat(1_025), PasswordPolicyError::TooLong),
            ("with\0 a NUL", PasswordPolicyError::ControlCharacter),
            ("with a\ttab", PasswordPolicyError::ControlCharacter),
            ("with a \u{85} C1", PasswordPolicyError::ControlCharacter),
            ("PassWord1", PasswordPolicyError::Common),
            ("ADA@Example.com", PasswordPolicyError::IsEmail),
        ] {
            assert_eq!(admit(chosen).err(), Some(error), "{chosen:?}");
        }
        for chosen in [
            "eightch!",
            "        spaces",
            "\u{1F511}\u{1F511}\u{1F511}\u{1F511}\u{1F511}\u{1F511}\u{1F511}\u{1F511}",
            "ada@example.com and more",
            &"\u{1F511}".repeat(256),
        ] {
            assert!(admit(chosen).is_ok(), "{chosen:?}");
        }
    }

    #[test]
    fn only_canonically_equivalent_passwords_are_equal() {
        let composed = Password::new("caf\u{E9}".into());
        assert_eq!(
            composed.as_bytes(),
            Password::new("cafe\u{301}".into()).as_bytes()
        );
        // NFC, not NFKC: a fullwidth A is not an A.
        assert_ne!(
            Password::new("\u{FF21}".into()).as_bytes(),
            Password::new("A".into()).as_bytes()
        );
        assert_eq!(Password::new(" a ".into()).as_bytes(), b" a ");
    }

    #[test]
    fn a_different_presented_form_is_kept() {
        let decomposed = Password::new("cafe\u{301}".into());
        assert_eq!(decomposed.as_bytes(), "caf\u{E9}".as_bytes());
        assert_eq!(decomposed.unnormalized(), Some("cafe\u{301}".as_bytes()));
        assert_eq!(Password::new("caf\u{E9}".into()).unnormalized(), None);
        // A clone shares the same bytes.
        assert!(std::ptr::eq(
            decomposed.as_bytes(),
            decomposed.clone().as_bytes()
        ));
    }

    #[test]
    fn secrets_have_no_readable_debug() {
        let admitted = admit("correct horse battery").unwrap();
        assert!(!format!("{admitted:?}").contains("horse"));
        let presented = Password::new("cafe\u{301}".into());
        assert!(!format!("{presented:?}").contains("caf"));
        let stored = HashedPassword::new("$2b$12$abc".into());
        assert!(!format!("{stored:?}").contains("2b"));
    }

    proptest! {
        #[test]
        fn normalizing_leaves_no_copies(
            presented in "[a-e\u{301}-\u{30A}\u{958}-\u{95F}\u{FB1D}-\u{FB4E}\u{1D15E}-\u{1D164}]{1,20}",
        ) {
            let forms = Password::new(presented).0;
            if let Some(presented) = &forms.unnormalized {
                prop_assert!(forms.normalized.len() <= 3 * presented.len());
            }
        }

        #[test]
        fn no_rule_asks_for_kinds_of_characters(
            chosen in prop_oneof!["[0-9]{15,40}", " {15,40}", "[a-z]{15,40}", "[\u{4E00}-\u{9FA5}]{15,40}"],
        ) {
            let admitted = admit(&chosen);
            prop_assert!(
                matches!(admitted, Ok(_) | Err(PasswordPolicyError::Common)),
                "{:?}", admitted.err()
            );
        }
    }
}
