//! The reset tokens that a user has been given.

use std::time::Duration;

use chrono::{DateTime, Utc};

use super::{CLOCK_SKEW, ResetDigest, ResetToken};

/// A reset token that was made a moment ago, and what is stored of it.
#[derive(Debug)]
pub struct NewReset {
    /// The secret, for its user alone.
    pub token: ResetToken,
    /// What is stored.
    pub pending: PendingReset,
}

impl NewReset {
    /// Makes a token that expires at a time.
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

/// A reset token that was given out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PendingReset {
    /// What is stored of the token.
    pub digest: ResetDigest,
    /// From then on it is refused.
    pub expires_at: DateTime<Utc>,
    /// When it was mailed; `None` while it is on its way, or where it was not mailed.
    pub mailed_at: Option<DateTime<Utc>>,
}

/// The two reset tokens of a user that may be good. A new one is mailed only when the
/// newest has reached half its life, so no third one can be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ResetTokens {
    /// The one that was given out last.
    pub newest: Option<PendingReset>,
    /// A mailed one before it.
    pub previous: Option<PendingReset>,
}

impl PendingReset {
    /// Whether it is taken at this moment, where tokens are good for `ttl`. One that
    /// expires later than any token can was made under a clock that was wrong.
    pub fn is_good(&self, now: DateTime<Utc>, ttl: Duration) -> bool {
        now < self.expires_at && self.expires_at <= now + ttl + CLOCK_SKEW
    }
}

impl ResetTokens {
    /// The token that a digest is of.
    pub fn find(&self, digest: ResetDigest) -> Option<PendingReset> {
        self.all().find(|reset| reset.digest == digest)
    }

    /// Whether one was mailed after a moment. What is dated after now does not count.
    pub fn were_mailed_since(&self, since: DateTime<Utc>, now: DateTime<Utc>) -> bool {
        self.all()
            .filter_map(|reset| reset.mailed_at)
            .any(|mailed_at| since < mailed_at && mailed_at <= now + CLOCK_SKEW)
    }

    /// The tokens once one more is given out at this moment. A good one that was mailed
    /// stays good; one that never reached its user makes room.
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
    fn a_token_is_good_for_its_time_and_not_ahead_of_it() {
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
    fn a_mailed_token_stays_beside_the_next_and_another_makes_room() {
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
    fn a_token_of_a_clock_ahead_neither_stays_nor_keeps_the_next_back() {
        let ahead = made(100 * 86_400, true);
        let tokens = ResetTokens::default().with(ahead, at(100 * 86_400));
        assert!(!tokens.were_mailed_since(at(-300), at(0)));
        assert_eq!(tokens.with(made(0, true), at(0)).previous, None);
    }

    #[test]
    fn it_is_known_when_one_was_mailed_last() {
        let tokens = ResetTokens::default().with(made(0, true), at(0));
        assert!(tokens.were_mailed_since(at(-1), at(0)));
        assert!(!tokens.were_mailed_since(at(0), at(300)));
        let tokens = tokens.with(made(1, false), at(1));
        assert!(tokens.were_mailed_since(at(-1), at(1)), "the one before");
    }
}
