//! Removing what has expired, and bounding what is dated after now.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use chrono::{DateTime, TimeDelta, Utc};

use super::{
    Auth, AuthError,
    outbox::deliver::{CLAIM, SET_ASIDE},
};
use crate::{
    clock::{ClockGuard, ClockState},
    domain::CLOCK_SKEW,
};

/// How long after its expiry something is removed. It is refused already, so this costs
/// a little room; a clock that is wrong by less than this loses nothing.
const LATE: Duration = Duration::from_secs(86_400);

/// How many rows are changed in one unit of work, so that nobody who wants to write
/// waits long.
const ROWS_AT_ONCE: u32 = 500;

/// The same for revocations, which nobody changes.
const REVOCATIONS_AT_ONCE: u32 = 5_000;

/// What the sweeps know of the clocks from one to the next.
#[derive(Debug, Default)]
pub struct Sweeper {
    guard: Option<ClockGuard>,
    is_doubted: bool,
    differs: bool,
    /// Sessions that were bounded and not yet told of in the log.
    bounded: usize,
}

/// What the sweeps tell the session checks. Cheap to clone.
#[derive(Clone, Default)]
pub(in crate::auth) struct Sweeping(Arc<AtomicBool>);

impl Sweeping {
    /// Whether sessions that this node takes for dated after now are bounded in the
    /// database. Where its own clock may be the one that is wrong, they are not.
    pub(in crate::auth) fn bounds_what_is_dated_ahead(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// The present time by the clocks that there are: this machine's and the database's.
#[derive(Clone, Copy, Debug)]
struct Now {
    /// What has expired by this has expired by all of them.
    earliest: DateTime<Utc>,
    /// What is later than this is later by all of them.
    latest: DateTime<Utc>,
}

impl Auth {
    /// Removes some of what expired a day ago or more, and bounds some of what is dated
    /// after now: sessions, reset tokens, revocations, and mails that wait for such a
    /// date; `true` while there may be more. While the clock is in doubt, nothing.
    ///
    /// # Errors
    ///
    /// `Unavailable`, `Internal`: what is not named there was swept all the same.
    pub async fn sweep(&self, sweeper: &mut Sweeper) -> Result<bool, AuthError> {
        let Some(now) = self.trusted_now(sweeper).await? else {
            return Ok(false);
        };
        // A fault in one table is no reason to leave the others as they are.
        let swept = [
            self.bound_sessions(now, sweeper).await,
            self.remove_expired_sessions(now).await,
            self.remove_reset_tokens(now).await,
            self.bound_mails(now).await,
            self.remove_revocations(now).await,
        ];
        let mut has_more = false;
        for more in swept {
            has_more |= more?;
        }
        Ok(has_more)
    }

    /// The present time, unless it is in doubt.
    async fn trusted_now(&self, sweeper: &mut Sweeper) -> Result<Option<Now>, AuthError> {
        let record = self.db.clock_record().await?;
        let moment = self.clock.moment();
        let guard = sweeper
            .guard
            .get_or_insert_with(|| ClockGuard::new(record.trusted_at, moment));
        let state = guard.observe(moment);
        let database = record.database.unwrap_or(moment.calendar);
        let now = Now {
            earliest: moment.calendar.min(database),
            latest: moment.calendar.max(database),
        };
        if let ClockState::Trusted { is_to_record: true } = state {
            self.db.record_trusted_clock(now.earliest).await?;
        }
        sweeper.compare(moment.calendar, database);
        sweeper.doubt(state == ClockState::Doubted, record.trusted_at);
        let is_behind = moment.calendar + CLOCK_SKEW < database;
        self.sweeping
            .0
            .store(!sweeper.is_doubted && !is_behind, Ordering::Relaxed);
        Ok((!sweeper.is_doubted).then_some(now))
    }

    async fn remove_expired_sessions(&self, now: Now) -> Result<bool, AuthError> {
        // What was used has not expired.
        self.write_uses().await?;
        let (limits, late) = (self.settings.session_limits, now.earliest - LATE);
        let (idle, absolute) = (late - limits.idle, late - limits.absolute);
        let removed = self
            .db
            .remove_expired_sessions(idle, absolute, ROWS_AT_ONCE)
            .await?;
        if removed > 0 {
            tracing::debug!(removed, "expired sessions were removed");
        }
        Ok(removed > 0)
    }

    async fn bound_sessions(&self, now: Now, sweeper: &mut Sweeper) -> Result<bool, AuthError> {
        let after = now.latest + CLOCK_SKEW;
        let bounded = self
            .db
            .bound_sessions(after, now.latest, ROWS_AT_ONCE)
            .await?;
        sweeper.bounded += bounded;
        if bounded > 0 || sweeper.bounded == 0 {
            return Ok(bounded > 0);
        }
        let sessions = std::mem::take(&mut sweeper.bounded);
        tracing::warn!(
            sessions,
            "sessions were dated after now, by a clock that was wrong: their limits count from now"
        );
        Ok(false)
    }

    async fn remove_reset_tokens(&self, now: Now) -> Result<bool, AuthError> {
        let last = now.latest + self.settings.reset_ttl + CLOCK_SKEW;
        let removed = self
            .db
            .remove_reset_tokens(now.earliest - LATE, last, ROWS_AT_ONCE)
            .await?;
        Ok(removed > 0)
    }

    async fn bound_mails(&self, now: Now) -> Result<bool, AuthError> {
        let due_after = now.latest + SET_ASIDE + CLOCK_SKEW;
        let claimed_after = now.latest + CLAIM + CLOCK_SKEW;
        let bounded = self
            .db
            .bound_outgoing_mails(due_after, claimed_after, now.latest)
            .await?;
        if bounded > 0 {
            tracing::warn!(
                mails = bounded,
                "mails were to wait for a date that a clock made that was wrong: they are due now"
            );
            self.mail_delivery.wake();
        }
        Ok(false)
    }

    async fn remove_revocations(&self, now: Now) -> Result<bool, AuthError> {
        let before = now.earliest - self.settings.revocation_retention;
        let removed = self
            .db
            .sweep_revocations(before, REVOCATIONS_AT_ONCE)
            .await?;
        Ok(removed > 0)
    }
}

impl Sweeper {
    /// Says when the clock begins to be doubted, and when that is over.
    fn doubt(&mut self, is_doubted: bool, trusted_at: Option<DateTime<Utc>>) {
        if is_doubted && !self.is_doubted {
            let known = trusted_at.map(|at| at.to_rfc3339());
            tracing::warn!(
                last_known_right = known,
                "the clock has jumped, or the service was down for more than a day: nothing is \
                 removed that has expired, and nothing is bounded that is dated after now, until \
                 the clock is back or has gone on steadily for a day"
            );
        } else if !is_doubted && self.is_doubted {
            tracing::info!("the clock is trusted again: what has expired is removed");
        }
        self.is_doubted = is_doubted;
    }

    /// Says when this clock and the database's begin to differ, and when that is over.
    fn compare(&mut self, own: DateTime<Utc>, database: DateTime<Utc>) {
        let difference: TimeDelta = (own - database).abs();
        let differs = difference.to_std().is_ok_and(|by| by > CLOCK_SKEW);
        if differs && !self.differs {
            tracing::warn!(
                seconds_ahead = (own - database).num_seconds(),
                "this machine's clock and the database's differ: set the one that is wrong; until \
                 then what has expired goes by the earlier one"
            );
        } else if !differs && self.differs {
            tracing::info!("this machine's clock and the database's agree again");
        }
        self.differs = differs;
    }
}
