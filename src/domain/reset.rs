//! The reset tokens of a user.

use std::time::Duration;

use chrono::{DateTime, Utc};

use super::{CLOCK_SKEW, ResetDigest, ResetToken};

/// A new reset token with its stored form.
#[derive(Debug)]
pub struct NewReset {
    /// The secret, for its user alone.
    pub token: ResetToken,
    /// The stored form.
    pub pending: PendingReset,
}

impl NewReset {
    /// Makes a token with this expiry.
    ///
    /// # Errors
    ///
    /// When the operating system gives no randomness.
    pub fn generate(expires_at: DateTime<Utc>) -> Result<Self, getrandom::Error> {
        let token = ResetToken::generate()?;
        let pending = PendingReset {
            digest: token.digest(),
            expires_at,
            mailed_at: None,
        };
        Ok(Self { token, pending })
    }
}

/// A stored reset token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PendingReset {
    /// The digest of the token.
    pub digest: ResetDigest,
    /// The time from which it is refused.
    pub expires_at: DateTime<Utc>,
    /// When it was mailed; `None` before that, or if it was returned to the caller.
    pub mailed_at: Option<DateTime<Utc>>,
}

/// The two reset tokens of a user that may be valid. A new one is mailed only after half
/// the life of the newest, so a third cannot be valid.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ResetTokens {
    /// The latest token.
    pub newest: Option<PendingReset>,
    /// An earlier, mailed one.
    pub previous: Option<PendingReset>,
}

impl PendingReset {
    /// Whether it is valid now, if tokens live for `ttl`. A later expiry than any new
    /// token's comes from a wrong clock.
    pub fn is_good(&self, now: DateTime<Utc>, ttl: Duration) -> bool {
        now < self.expires_at && self.expires_at <= now + ttl + CLOCK_SKEW
    }
}

impl ResetTokens {
    /// The token with this digest.
    pub fn find(&self, digest: ResetDigest) -> Option<PendingReset> {
        self.all().find(|reset| reset.digest == digest)
    }

    /// Whether one was mailed after `since`. Times in the future do not count.
    pub fn were_mailed_since(&self, since: DateTime<Utc>, now: DateTime<Utc>) -> bool {
        self.all()
            .filter_map(|reset| reset.mailed_at)
            .any(|mailed_at| since < mailed_at && mailed_at <= now + CLOCK_SKEW)
    }

    /// The tokens after another one was added. A valid mailed token stays valid; a token
    /// that never reached its user is replaced.
    pub fn with(self, added: PendingReset, now: DateTime<Utc>) -> Self {
        let ttl = (added.expires_at - now).to_std().unwrap_or_default();
        let is_good = |reset: &PendingReset| reset.is_good(now, ttl);
        let mailed = self.newest.filter(|reset| reset.mailed_at.is_some());
        Self {
            newest: Some(added),
            previous: mailed
                .filter(is_good)
                .or_else(|| self.previous.filter(is_good)),
        }
    }

    fn all(&self) -> impl Iterator<Item = PendingReset> {
        [self.newest, self.previous].into_iter().flatten()
    }
}

#[cfg(test)]
mod tests {
    use chrono::TimeDelta;

    use super::*;

    const TTL: Duration = Duration::from_secs(600);

    fn at(seconds: i64) -> DateTime<Utc> {
        DateTime::UNIX_EPOCH + TimeDelta::seconds(seconds)
    }

    fn made(seconds: i64, mailed: bool) -> PendingReset {
        PendingReset {
            digest: ResetToken::generate().unwrap().digest(),
            expires_at: at(seconds) + TTL,
            mailed_at: mailed.then(|| at(seconds)),
        }
    }

    #[test]
    fn a_token_is_valid_for_its_lifetime() {
        let reset = made(0, true);
        for (now, expected) in [
            (-301, false),
            (-300, true),
            (0, true),
            (599, true),
            (600, false),
            (-100 * 86_400, false),
        ] {
            assert_eq!(reset.is_good(at(now), TTL), expected, "{now}");
        }
    }

    #[test]
    fn a_mailed_token_stays_valid_and_another_is_replaced() {
        let (first, failed, second) = (made(0, true), made(300, false), made(301, true));
        let tokens = ResetTokens::default().with(first, at(0));
        let tokens = tokens.with(failed, at(300));
        assert_eq!(
            (tokens.newest, tokens.previous),
            (Some(failed), Some(first))
        );
        let tokens = tokens.with(second, at(301));
        assert_eq!(
            (tokens.newest, tokens.previous),
            (Some(second), Some(first))
        );
        assert_eq!(tokens.find(first.digest), Some(first));
        assert_eq!(tokens.find(failed.digest), None);
        let third = made(601, true);
        let tokens = tokens.with(third, at(601));
        assert_eq!(
            (tokens.newest, tokens.previous),
            (Some(third), Some(second))
        );
        let tokens = tokens.with(made(2_000, true), at(2_000));
        assert_eq!(tokens.previous, None, "expired");
    }

    #[test]
    fn a_token_of_a_clock_ahead_is_replaced_and_delays_no_mail() {
        let ahead = made(100 * 86_400, true);
        let tokens = ResetTokens::default().with(ahead, at(100 * 86_400));
        assert!(!tokens.were_mailed_since(at(-300), at(0)));
        assert_eq!(tokens.with(made(0, true), at(0)).previous, None);
    }

    #[test]
    fn recent_mails_are_recognised() {
        let tokens = ResetTokens::default().with(made(0, true), at(0));
        assert!(tokens.were_mailed_since(at(-1), at(0)));
        assert!(!tokens.were_mailed_since(at(0), at(300)));
        let tokens = tokens.with(made(1, false), at(1));
        assert!(tokens.were_mailed_since(at(-1), at(1)), "the one before");
    }
}
