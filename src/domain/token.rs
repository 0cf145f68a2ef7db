//! Bearer secrets and their digests.

use std::{fmt, hash::Hash, marker::PhantomData};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

/// The number of random bytes in a token. A UUID's 122 bits would be too few for ASVS
/// 7.2.3.
const BYTES: usize = 32;

/// The length of those bytes in base64url without padding.
const ENCODED: usize = (BYTES * 8).div_ceil(6);

/// The purpose of a token. Neither the compiler nor a parser takes one kind for another.
pub trait TokenKind: Copy + Eq + Hash + Send + Sync + 'static {
    /// The prefix, by which secret scanners recognise a leaked token.
    const PREFIX: &'static str;
    /// The name of the type.
    const NAME: &'static str;
}

/// Proves a session.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub enum SessionKind {}

impl TokenKind for SessionKind {
    const PREFIX: &'static str = "sess_";
    const NAME: &'static str = "SessionToken";
}

/// Lets its owner set a new password, once.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub enum ResetKind {}

impl TokenKind for ResetKind {
    const PREFIX: &'static str = "rst_";
    const NAME: &'static str = "ResetToken";
}

/// A `session_id`.
pub type SessionToken = Token<SessionKind>;

/// A `reset_token`.
pub type ResetToken = Token<ResetKind>;

/// The stored form of a `session_id`.
pub type SessionDigest = TokenDigest<SessionKind>;

/// The stored form of a `reset_token`.
pub type ResetDigest = TokenDigest<ResetKind>;

/// A bearer secret: its kind's prefix and 32 random bytes in base64url without
/// padding. It is wiped when dropped.
pub struct Token<K>(Zeroizing<String>, PhantomData<K>);

impl<K: TokenKind> Token<K> {
    /// A new token from the operating system's randomness.
    ///
    /// # Errors
    ///
    /// When the operating system gives no randomness.
    pub fn generate() -> Result<Self, getrandom::Error> {
        let mut bytes = Zeroizing::new([0; BYTES]);
        getrandom::fill(bytes.as_mut())?;
        let encoded = Zeroizing::new(URL_SAFE_NO_PAD.encode(bytes.as_ref()));
        let text = Zeroizing::new([K::PREFIX, encoded.as_str()].concat());
        Ok(Self(text, PhantomData))
    }

    /// Parses a presented token; `None` for anything that [`generate`] cannot have made,
    /// down to the unused bits of the last character.
    ///
    /// [`generate`]: Self::generate
    pub fn parse(presented: &str) -> Option<Self> {
        Self::digest_of(presented).map(|_| Self(Zeroizing::new(presented.to_owned()), PhantomData))
    }

    /// The digest of a presented token; `None` if the text is not a token.
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

    /// Whether a text looks like a token without its prefix, by length and alphabet.
    pub fn lacks_prefix(text: &str) -> bool {
        let is_base64url = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
        text.len() == ENCODED && text.bytes().all(is_base64url)
    }

    /// The digest to store and look up. A plain hash is enough for 256 random bits (ASVS
    /// 6.5.2), and the time of a look-up by it reveals nothing.
    pub fn digest(&self) -> TokenDigest<K> {
        TokenDigest::of(&self.0)
    }

    /// The text, to be shown to its owner once.
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

    /// Restores stored [`as_bytes`](Self::as_bytes); `None` for another length.
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

    const PREFIX: &str = SessionKind::PREFIX;

    #[test]
    fn kinds_are_kept_apart() {
        let session = SessionToken::generate().unwrap();
        let reset = ResetToken::generate().unwrap();
        assert!(ResetToken::parse(session.expose()).is_none());
        assert!(SessionToken::parse(reset.expose()).is_none());
        let renamed = session.expose().replace("sess_", "rst_");
        let renamed = ResetToken::parse(&renamed).unwrap();
        assert_ne!(renamed.digest().as_bytes(), session.digest().as_bytes());
    }

    #[test]
    fn tokens_are_well_formed_and_unique() {
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
    fn secrets_have_no_readable_debug() {
        let token = SessionToken::generate().unwrap();
        assert_eq!(format!("{token:?}"), "SessionToken(…)");
        assert_eq!(format!("{:?}", token.digest()), "digest of SessionToken(…)");
    }

    proptest! {
        #[test]
        fn a_changed_token_is_invalid_or_another(position in 0_usize..48, with in any::<char>()) {
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
