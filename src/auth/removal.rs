//! Removing expired rows, and correcting times in the future.

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
    clock::{ClockGuard, ClockState, MAX_DOWNTIME},
    domain::CLOCK_SKEW,
};

/// How long after its expiry a row is removed. Expired rows are refused anyway, so the
/// delay costs only space, and a clock wrong by less than this destroys nothing: it is also the
/// downtime after which the clock is no longer trusted.
const LATE: Duration = MAX_DOWNTIME;

/// The number of rows changed in one unit of work, so that other writers do not wait long.
const ROWS_AT_ONCE: u32 = 500;

/// The same for revocations, which have no other writers.
const REVOCATIONS_AT_ONCE: u32 = 5_000;

/// The state that one call of [`Auth::remove_expired`] leaves to the next.
#[derive(Debug, Default)]
pub struct ExpiryRemoval {
    guard: Option<ClockGuard>,
    is_doubted: bool,
    differs: bool,
    /// Sessions whose times were corrected and not logged yet.
    bounded_sessions: usize,
    /// Mails whose times were corrected and not logged yet.
    bounded_mails: usize,
}

/// Whether this node's clock is trusted, as session checks need it. Clones share it.
#[derive(Clone, Default)]
pub(in crate::auth) struct ClockTrust(Arc<AtomicBool>);

impl ClockTrust {
    /// Whether the database corrects the times of sessions that this node sees in the
    /// future. It does not while this node's own clock may be the wrong one.
    pub(in crate::auth) fn corrects_future_times(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// The present time by both clocks, the machine's and the database's.
#[derive(Clone, Copy, Debug)]
struct Now {
    /// Times before this are past by both clocks.
    earliest: DateTime<Utc>,
    /// Times after this are future by both clocks.
    latest: DateTime<Utc>,
}

impl Auth {
    /// Removes some of the rows that expired at least a day ago, and corrects some of the
    /// times in the future: of sessions, reset tokens, revocations, and mails postponed to
    /// such a time. Returns whether there may be more. It does nothing while the clock is
    /// in doubt.
    ///
    /// # Errors
    ///
    /// `Unavailable`, `Internal`: the other tables were processed all the same.
    pub async fn remove_expired(&self, removal: &mut ExpiryRemoval) -> Result<bool, AuthError> {
        let Some(now) = self.trusted_now(removal).await? else {
            return Ok(false);
        };
        // A fault in one table must not stop the work on the others.
        let results = [
            self.bound_sessions(now, removal).await,
            self.remove_expired_sessions(now).await,
            self.remove_reset_tokens(now).await,
            self.bound_mails(now, removal).await,
            self.remove_revocations(now).await,
        ];
        let mut has_more = false;
        for more in results {
            has_more |= more?;
        }
        Ok(has_more)
    }

    /// The present time; `None` while it is in doubt.
    async fn trusted_now(&self, removal: &mut ExpiryRemoval) -> Result<Option<Now>, AuthError> {
        let record = self.db.clock_record().await?;
        let reading = self.clock.reading();
        let guard = removal
            .guard
            .get_or_insert_with(|| ClockGuard::new(record.trusted_at, reading));
        let state = guard.observe(reading);
        let database = record.database.unwrap_or(reading.wall);
        let now = Now {
            earliest: reading.wall.min(database),
            latest: reading.wall.max(database),
        };
        if let ClockState::Trusted { is_to_record: true } = state {
            self.db.record_trusted_clock(now.earliest).await?;
        }
        removal.compare(reading.wall, database);
        removal.doubt(state == ClockState::Doubted, record.trusted_at);
        let is_behind = reading.wall + CLOCK_SKEW < database;
        self.clock_trust
            .0
            .store(!removal.is_doubted && !is_behind, Ordering::Relaxed);
        Ok((!removal.is_doubted).then_some(now))
    }

    async fn remove_expired_sessions(&self, now: Now) -> Result<bool, AuthError> {
        // Sessions with unwritten uses have not expired.
        self.write_last_seen().await?;
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

    async fn bound_sessions(
        &self,
        now: Now,
        removal: &mut ExpiryRemoval,
    ) -> Result<bool, AuthError> {
        let after = now.latest + CLOCK_SKEW;
        let bounded = self
            .db
            .bound_sessions(after, now.latest, ROWS_AT_ONCE)
            .await?;
        removal.bounded_sessions += bounded;
        if bounded > 0 || removal.bounded_sessions == 0 {
            return Ok(bounded > 0);
        }
        let sessions = std::mem::take(&mut removal.bounded_sessions);
        tracing::warn!(
            sessions,
            "sessions were dated in the future by a wrong clock: their limits count from now"
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

    async fn bound_mails(&self, now: Now, removal: &mut ExpiryRemoval) -> Result<bool, AuthError> {
        let due_after = now.latest + SET_ASIDE + CLOCK_SKEW;
        let claimed_after = now.latest + CLAIM + CLOCK_SKEW;
        let bounded = self
            .db
            .bound_outgoing_mails(due_after, claimed_after, now.latest, ROWS_AT_ONCE)
            .await?;
        removal.bounded_mails += bounded;
        if bounded > 0 {
            self.mail_delivery.wake();
        }
        if bounded > 0 || removal.bounded_mails == 0 {
            return Ok(bounded > 0);
        }
        let mails = std::mem::take(&mut removal.bounded_mails);
        tracing::warn!(
            mails,
            "mails were postponed to a date set by a wrong clock: they are due now"
        );
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

impl ExpiryRemoval {
    /// Logs when doubt about the clock begins and ends.
    fn doubt(&mut self, is_doubted: bool, trusted_at: Option<DateTime<Utc>>) {
        if is_doubted && !self.is_doubted {
            let known = trusted_at.map(|at| at.to_rfc3339());
            tracing::warn!(
                last_known_right = known,
                "the clock has jumped, or the service was down for more than a day: expired rows \
                 are kept and times in the future are not corrected until the clock is back or \
                 has run steadily for a day"
            );
        } else if !is_doubted && self.is_doubted {
            tracing::info!("the clock is trusted again: expired rows are removed");
        }
        self.is_doubted = is_doubted;
    }

    /// Logs when this clock and the database's begin and cease to differ.
    fn compare(&mut self, own: DateTime<Utc>, database: DateTime<Utc>) {
        let difference: TimeDelta = (own - database).abs();
        let differs = difference.to_std().is_ok_and(|by| by > CLOCK_SKEW);
        if differs && !self.differs {
            tracing::warn!(
                seconds_ahead = (own - database).num_seconds(),
                "this machine's clock and the database's differ: set the wrong one; until then \
                 expiry goes by the earlier one"
            );
        } else if !differs && self.differs {
            tracing::info!("this machine's clock and the database's agree again");
        }
        self.differs = differs;
    }
}
