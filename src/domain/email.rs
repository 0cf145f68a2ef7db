//! E-mail addresses in canonical form.

use std::fmt;

use smol_str::SmolStr;
use thiserror::Error;

use super::OddCharacter;

/// The length of the longest address in bytes, as sent and in canonical form (RFC 5321,
/// 4.5.3.1.3, less the angle brackets).
const MAX_BYTES: usize = 254;

/// The length of the longest local part, in bytes (RFC 5321, 4.5.3.1.1).
const MAX_LOCAL_BYTES: usize = 64;

/// An address in canonical form: the local part in ASCII lower case, `@`, the domain in its
/// ASCII (IDNA) form. Two spellings of one address are equal bytes, so uniqueness, look-up
/// and limits all use this value.
///
/// It is never folded by Unicode rules or by the database: `\u{212A}im@…` (Kelvin sign)
/// must not become `kim@…`, and the databases would disagree.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Email(SmolStr);

/// Why a text is not a valid address of an account.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum EmailError {
    /// The text is empty.
    #[error("is missing")]
    Missing,
    /// Over 254 bytes as sent or in canonical form, or over 64 before the `@`.
    #[error("is too long: at most 254 bytes, 64 of them before the @")]
    TooLong,
    /// No `@`, or several.
    #[error("is not an address: write it as name@example.com, with one @")]
    NotOneAt,
    /// A character that an unquoted ASCII local part does not allow.
    #[error(
        "is not an address: before the @, write ASCII letters, digits and \
         !#$%&'*+-/=?^_`{{|}}~, with single dots between them"
    )]
    LocalPart,
    /// The part after the `@` is not a domain name.
    #[error("is not an address: after the @, write a domain name such as example.com")]
    Domain,
    /// An invisible character, or one that looks like another.
    #[error("is not an address: {0}")]
    Character(OddCharacter),
}

impl Email {
    /// The address without ASCII white space around it, which keyboards and copied cells
    /// leave unnoticed. Other invisible characters are refused, since they may stand for a
    /// mistake in the address itself.
    pub fn trimmed(text: &str) -> &str {
        text.trim_ascii()
    }

    /// Makes the canonical form; there is no other constructor. ASCII white space at both
    /// ends is ignored.
    ///
    /// # Errors
    ///
    /// When the text is not a plain `local@domain` address; quoted local parts, comments
    /// and address literals are refused.
    pub fn parse(text: &str) -> Result<Self, EmailError> {
        let text = Self::trimmed(text);
        Self::parse_trimmed(text).map_err(|error| match error {
            EmailError::NotOneAt | EmailError::LocalPart | EmailError::Domain => {
                OddCharacter::find(text).map_or(error, EmailError::Character)
            }
            error => error,
        })
    }

    fn parse_trimmed(text: &str) -> Result<Self, EmailError> {
        if text.is_empty() {
            return Err(EmailError::Missing);
        }
        if text.len() > MAX_BYTES {
            return Err(EmailError::TooLong);
        }
        let (local, domain) = text.split_once('@').ok_or(EmailError::NotOneAt)?;
        if domain.contains('@') {
            return Err(EmailError::NotOneAt);
        }
        if local.len() > MAX_LOCAL_BYTES {
            return Err(EmailError::TooLong);
        }
        if !local.split('.').all(is_atom) {
            return Err(EmailError::LocalPart);
        }
        let domain = idna::domain_to_ascii_strict(domain).map_err(|_| EmailError::Domain)?;
        let canonical = format!("{}@{domain}", local.to_ascii_lowercase());
        if canonical.len() > MAX_BYTES {
            return Err(EmailError::TooLong);
        }
        Ok(Self(canonical.into()))
    }

    /// The canonical form.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<Email> for String {
    fn from(email: Email) -> Self {
        email.0.into()
    }
}

impl fmt::Display for Email {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// An `atom` of RFC 5322, 3.2.3.
fn is_atom(text: &str) -> bool {
    !text.is_empty()
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-/=?^_`{|}~".contains(&byte))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn canonical(text: &str) -> String {
        Email::parse(text)
            .unwrap_or_else(|error| panic!("{text:?} {error}"))
            .to_string()
    }

    #[test]
    fn spellings_of_one_address_are_equal() {
        for (spelling, key) in [
            ("ada@example.com", "ada@example.com"),
            ("Ada@EXAMPLE.Com", "ada@example.com"),
            ("ada@ex\u{AD}ample.com", "ada@example.com"), // soft hyphen
            ("ada@\u{FF45}xample.com", "ada@example.com"), // fullwidth e
            ("o'neil+tag@example.com", "o'neil+tag@example.com"),
            ("ada@b\u{FC}cher.example", "ada@xn--bcher-kva.example"),
            ("ada@BU\u{308}CHER.example", "ada@xn--bcher-kva.example"),
            ("ada@localhost", "ada@localhost"),
            (" \t\r\nada@example.com \x0C\r\n", "ada@example.com"),
        ] {
            assert_eq!(canonical(spelling), key, "{spelling:?}");
        }
    }

    #[test]
    fn an_invalid_address_has_its_reason() {
        let long = |n: usize| format!("{}@example.com", "a".repeat(n));
        for (text, error) in [
            ("", EmailError::Missing),
            (" \t\r\n", EmailError::Missing),
            ("ada", EmailError::NotOneAt),
            ("ada@b@example.com", EmailError::NotOneAt),
            ("@example.com", EmailError::LocalPart),
            (".ada@example.com", EmailError::LocalPart),
            ("ada.@example.com", EmailError::LocalPart),
            ("a..da@example.com", EmailError::LocalPart),
            ("\"ada\"@example.com", EmailError::LocalPart),
            ("ada(x)@example.com", EmailError::LocalPart),
            ("a,b@example.com", EmailError::LocalPart),
            ("ada@", EmailError::Domain),
            ("ada@example.com.", EmailError::Domain),
            ("ada@exa..mple", EmailError::Domain),
            ("ada@-a.com", EmailError::Domain),
            ("ada@[127.0.0.1]", EmailError::Domain),
            ("ada@[::1]", EmailError::Domain),
            ("ada@a_b.com", EmailError::Domain),
            (&long(65), EmailError::TooLong),
            (&"a".repeat(255), EmailError::TooLong),
        ] {
            assert_eq!(Email::parse(text), Err(error), "{text:?}");
        }
        assert!(Email::parse(&long(64)).is_ok());
        // The limit applies to the address without white space around it.
        let padded = format!("{}{}{}", " ".repeat(300), long(64), "\t".repeat(300));
        assert_eq!(canonical(&padded), long(64));
    }

    #[test]
    fn an_invisible_character_is_named() {
        for (text, says) in [
            ("a da@example.com", "character 2 is a space"),
            (
                "ada\0@example.com",
                "character 4 is U+0000 (a control character)",
            ),
            (
                "ada\r\n@example.com",
                "character 4 is U+000D (a carriage return)",
            ),
            (
                "\u{A0}ada@example.com",
                "character 1 is U+00A0 (a no-break space)",
            ),
            (
                "ada@example.com\u{A0}",
                "character 16 is U+00A0 (a no-break space)",
            ),
            ("ada@exa mple.com", "character 8 is a space"),
            (
                "ada@example.com\0",
                "character 16 is U+0000 (a control character)",
            ),
            (
                "ad\u{200B}a@example.com",
                "character 3 is U+200B (a zero-width space)",
            ),
            (
                "ada\u{FF20}example.com",
                "character 4 is U+FF20 (a fullwidth @)",
            ),
            // Folding the Kelvin sign would let this one be kim@example.com.
            ("\u{212A}im@example.com", "character 1 is U+212A (\u{212A})"),
            ("\u{430}da@example.com", "character 1 is U+0430 (\u{430})"),
            // The text after the dot has no direction mark.
            ("\u{202E}ada@example.com", "character 1 is U+202E, "),
        ] {
            let error = Email::parse(text).unwrap_err();
            assert!(
                matches!(error, EmailError::Character(_)),
                "{text:?} {error:?}"
            );
            let error = error.to_string();
            assert!(error.starts_with("is not an address: "), "{error}");
            assert!(error.contains(says), "{text:?} {error}");
            assert!(
                !error.contains(['\u{A0}', '\u{200B}', '\u{202E}', '\r', '\0']),
                "{error:?}"
            );
        }
    }

    #[test]
    fn the_limit_holds_for_the_canonical_form_too() {
        // Short enough as sent, longer as xn--….
        let label = format!("{}\u{FC}", "a".repeat(40));
        let text = format!("{}@{}", "a".repeat(64), [label.as_str(); 4].join("."));
        assert!(text.len() <= MAX_BYTES);
        assert_eq!(Email::parse(&text), Err(EmailError::TooLong));
    }

    proptest! {
        #[test]
        fn the_canonical_form_is_stable(text in "\\PC{0,20}@\\PC{0,30}") {
            if let Ok(email) = Email::parse(&text) {
                prop_assert_eq!(Email::parse(email.as_str()), Ok(email));
            }
        }

        #[test]
        fn ascii_case_never_matters(
            local in "[a-zA-Z0-9!#$%&'*+/=?^_`{|}~-]{1,64}",
            domain in "[a-zA-Z]{1,20}(\\.[a-zA-Z]{1,20}){0,3}",
        ) {
            // Some labels that IDNA reads as encoded ones are malformed.
            prop_assume!(!domain.to_ascii_lowercase().contains("xn--"));
            let text = format!("{local}@{domain}");
            let email = Email::parse(&text);
            prop_assert_eq!(&Email::parse(&text.to_ascii_uppercase()), &email);
            prop_assert_eq!(&Email::parse(&format!("\n{text} \t")), &email);
            let lower = text.to_ascii_lowercase();
            prop_assert_eq!(email.as_ref().map(Email::as_str), Ok(lower.as_str()));
        }

        #[test]
        fn accepted_addresses_have_no_special_characters(text in any::<String>()) {
            if let Ok(email) = Email::parse(&text) {
                prop_assert!(email.as_str().is_ascii());
                prop_assert!(email.as_str().len() <= MAX_BYTES);
                let untamed = |c: char| c.is_ascii_control() || " \"(),:;<>[]\\".contains(c);
                prop_assert!(!email.as_str().contains(untamed));
            }
        }
    }
}
