//! Secrets that prove something, and what the database keeps of them.

use std::{fmt, hash::Hash, marker::PhantomData};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

/// How many random bytes a token holds; a UUID's 122 bits would be too few for
/// ASVS 7.2.3.
const BYTES: usize = 32;

/// The length of those bytes in base64url without padding.
const ENCODED: usize = (BYTES * 8).div_ceil(6);

/// What a token is for. One kind is never taken for another: not by the
/// compiler, and not by its text.
pub trait TokenKind: Copy + Eq + Hash + Send + Sync + 'static {
    /// What secret scanners know a leaked one by.
    const PREFIX: &'static str;
    /// The name of its type.
    const NAME: &'static str;
}

/// Proves a session.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub enum OfSession {}

impl TokenKind for OfSession {
    const PREFIX: &'static str = "sess_";
    const NAME: &'static str = "SessionToken";
}

/// Lets its owner set a new password, once.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub enum OfReset {}

impl TokenKind for OfReset {
    const PREFIX: &'static str = "rst_";
    const NAME: &'static str = "ResetToken";
}

/// A `session_id`.
pub type SessionToken = Token<OfSession>;

/// A `reset_token`.
pub type ResetToken = Token<OfReset>;

/// What is stored of a `session_id`.
pub type SessionDigest = TokenDigest<OfSession>;

/// What is stored of a `reset_token`.
pub type ResetDigest = TokenDigest<OfReset>;

/// A bearer secret: its kind's prefix and 32 random bytes in base64url without
/// padding. It is wiped when dropped.
pub struct Token<K>(Zeroizing<String>, PhantomData<K>);

impl<K: TokenKind> Token<K> {
    /// A new one, from the operating system's randomness.
    ///
    /// # Errors
    ///
    /// When the operating system has none to give.
    pub fn generate() -> Result<Self, getrandom::Error> {
        let mut bytes = Zeroizing::new([0; BYTES]);
        getrandom::fill(bytes.as_mut())?;
        let encoded = Zeroizing::new(URL_SAFE_NO_PAD.encode(bytes.as_ref()));
        let text = Zeroizing::new([K::PREFIX, encoded.as_str()].concat());
        Ok(Self(text, PhantomData))
    }

    /// Reads what a caller presented; `None` for anything that [`generate`]
    /// cannot have made, down to the unused bits of the last character.
    ///
    /// [`generate`]: Self::generate
    pub fn parse(presented: &str) -> Option<Self> {
        Self::digest_of(presented).map(|_| Self(Zeroizing::new(presented.to_owned()), PhantomData))
    }

    /// The digest of what a caller presented, where it is a token at all.
    pub fn digest_of(presented: &str) -> Option<TokenDigest<K>> {
        let encoded = presented.strip_prefix(K::PREFIX)?;
        let mut bytes = Zeroizing::new([0; BYTES]);
        let length = URL_SAFE_NO_PAD.decode_slice(encoded, bytes.as_mut()).ok()?;
        (length == BYTES).then(|| TokenDigest::of(presented))
    }

    /// Whether a text begins like a token of this kind.
    pub fn has_prefix(text: &str) -> bool {
        text.starts_with(K::PREFIX)
    }

    /// Whether a text has the shape of a token's random part: its length and alphabet.
    pub fn lacks_prefix(text: &str) -> bool {
        let is_base64url = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
        text.len() == ENCODED && text.bytes().all(is_base64url)
    }

    /// What to store and look up. A plain hash is enough for 256 random bits
    /// (ASVS 6.5.2), and a look-up by it tells a guesser nothing by its time.
    pub fn digest(&self) -> TokenDigest<K> {
        TokenDigest::of(&self.0)
    }

    /// The text to hand to its owner, once.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl<K: TokenKind> fmt::Debug for Token<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}(…)", K::NAME)
    }
}

/// SHA-256 of a token.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct TokenDigest<K>([u8; 32], PhantomData<K>);

impl<K: TokenKind> TokenDigest<K> {
    fn of(token: &str) -> Self {
        Self(Sha256::digest(token).into(), PhantomData)
    }

    /// Takes what [`as_bytes`](Self::as_bytes) gave; `None` for another length.
    pub fn from_bytes(stored: &[u8]) -> Option<Self> {
        Some(Self(stored.try_into().ok()?, PhantomData))
    }

    /// The bytes to store.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl<K: TokenKind> fmt::Debug for TokenDigest<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "digest of {}(…)", K::NAME)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use proptest::prelude::*;

    use super::*;

    const PREFIX: &str = OfSession::PREFIX;

    #[test]
    fn one_kind_is_not_taken_for_another() {
        let session = SessionToken::generate().unwrap();
        let reset = ResetToken::generate().unwrap();
        assert!(ResetToken::parse(session.expose()).is_none());
        assert!(SessionToken::parse(reset.expose()).is_none());
        let renamed = session.expose().replace("sess_", "rst_");
        let renamed = ResetToken::parse(&renamed).unwrap();
        assert_ne!(renamed.digest().as_bytes(), session.digest().as_bytes());
    }

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
        assert_eq!(format!("{:?}", token.digest()), "digest of SessionToken(…)");
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
