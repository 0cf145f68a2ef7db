//! The secret that proves a session, and what the database keeps of it.

use std::fmt;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

/// What secret scanners know a leaked `session_id` by.
const PREFIX: &str = "sess_";

/// How many random bytes a token holds; a UUID's 122 bits would be too few for
/// ASVS 7.2.3.
const BYTES: usize = 32;

/// A `session_id`: the bearer secret, `sess_` and 32 random bytes in base64url
/// without padding. It is wiped when dropped.
pub struct SessionToken(Zeroizing<String>);

impl SessionToken {
    /// A new one, from the operating system's randomness.
    ///
    /// # Errors
    ///
    /// When the operating system has none to give.
    pub fn generate() -> Result<Self, getrandom::Error> {
        let mut bytes = Zeroizing::new([0; BYTES]);
        getrandom::fill(bytes.as_mut())?;
        let encoded = Zeroizing::new(URL_SAFE_NO_PAD.encode(bytes.as_ref()));
        Ok(Self(Zeroizing::new([PREFIX, encoded.as_str()].concat())))
    }

    /// Reads what a caller presented; `None` for anything that [`generate`]
    /// cannot have made, down to the unused bits of the last character.
    ///
    /// [`generate`]: Self::generate
    pub fn parse(presented: &str) -> Option<Self> {
        let encoded = presented.strip_prefix(PREFIX)?;
        let mut bytes = Zeroizing::new([0; BYTES]);
        let length = URL_SAFE_NO_PAD.decode_slice(encoded, bytes.as_mut()).ok()?;
        (length == BYTES).then(|| Self(Zeroizing::new(presented.to_owned())))
    }

    /// What to store and look up. A plain hash is enough for 256 random bits
    /// (ASVS 6.5.2), and a look-up by it tells a guesser nothing by its time.
    pub fn digest(&self) -> TokenDigest {
        TokenDigest(Sha256::digest(self.0.as_bytes()).into())
    }

    /// The text to hand to its owner, once.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for SessionToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SessionToken(…)")
    }
}

/// SHA-256 of a token.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct TokenDigest([u8; 32]);

impl TokenDigest {
    /// The bytes to store.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for TokenDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokenDigest(…)")
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn tokens_are_what_they_say_and_never_the_same() {
        let tokens: HashSet<String> = (0..10_000)
            .map(|_| SessionToken::generate().unwrap().expose().to_owned())
            .collect();
        assert_eq!(tokens.len(), 10_000);
        for token in &tokens {
            assert_eq!(token.len(), PREFIX.len() + 43);
            let parsed = SessionToken::parse(token).unwrap();
            assert_eq!(parsed.digest().as_bytes(), Sha256::digest(token).as_slice());
        }
    }

    #[test]
    fn every_bit_is_random() {
        const TOKENS: u32 = 2_000;
        let mut ones = [0_u32; BYTES * 8];
        for _ in 0..TOKENS {
            let token = SessionToken::generate().unwrap();
            let bytes = URL_SAFE_NO_PAD.decode(&token.0[PREFIX.len()..]).unwrap();
            for (bit, count) in ones.iter_mut().enumerate() {
                *count += u32::from(bytes[bit / 8] >> (bit % 8) & 1);
            }
        }
        // Eight standard deviations: chance alone fails once in 10^13 runs.
        for (bit, count) in ones.into_iter().enumerate() {
            assert!(
                count.abs_diff(TOKENS / 2) < 180,
                "bit {bit} set {count} times"
            );
        }
    }

    #[test]
    fn nothing_secret_has_a_readable_debug() {
        let token = SessionToken::generate().unwrap();
        assert_eq!(format!("{token:?}"), "SessionToken(…)");
        assert_eq!(format!("{:?}", token.digest()), "TokenDigest(…)");
    }

    proptest! {
        #[test]
        fn a_changed_token_is_no_token_or_another(position in 0_usize..48, with in any::<char>()) {
            let token = SessionToken::generate().unwrap();
            let mut changed: Vec<char> = token.expose().chars().collect();
            changed[position] = with;
            let changed: String = changed.into_iter().collect();
            prop_assume!(changed != token.expose());
            if let Some(parsed) = SessionToken::parse(&changed) {
                prop_assert!(parsed.digest() != token.digest());
            }
        }

        #[test]
        fn cut_extended_recased_and_reencoded_tokens_are_refused(cut in 0_usize..48, more in "\\PC{1,4}") {
            let token = SessionToken::generate().unwrap();
            let text = token.expose();
            let bytes = URL_SAFE_NO_PAD.decode(&text[PREFIX.len()..]).unwrap();
            let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
            for other in [
                text[..cut].to_owned(),
                format!("{text}{more}"),
                format!("{more}{text}"),
                format!("{text}="),
                format!("SESS_{}", &text[PREFIX.len()..]),
                text[PREFIX.len()..].to_owned(),
                format!("{PREFIX}{hex}"),
                text.replace('_', "%5F"),
            ] {
                prop_assert!(SessionToken::parse(&other).is_none(), "{}", other);
            }
        }
    }
}
