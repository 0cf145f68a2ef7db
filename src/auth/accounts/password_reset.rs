//! Setting a new password by those who have forgotten it.

use std::time::Duration;

use chrono::{DateTime, Utc};
use tokio::sync::SemaphorePermit;

use crate::auth::{Auth, AuthError};
use crate::{
    db::{ChangePasswordError, ChangeProof, OfferedReset, PasswordChange, UserBy, UserChanges},
    deadline::Deadline,
    domain::{Email, NewReset, ResetToken, User},
    passwords::Purpose,
};

/// How many requests for a reset token are noted at once.
pub(in crate::auth) const REQUESTS_AT_ONCE: usize = 16;

/// When to ask again where there were more.
const RETRY_REQUEST: Duration = Duration::from_secs(1);

/// The least time between two mails with a reset token to one user: twelve an hour at
/// most, however many strangers ask.
const LEAST_BETWEEN_MAILS: Duration = Duration::from_secs(300);

/// The longest that a request waits before it is looked at. It waits for a
/// random part of that: what comes of it for an address that is a user's would
/// show in the time of the next request otherwise.
const MAX_DELAY: Duration = Duration::from_secs(1);

impl Auth {
    /// Sends a reset token to a user, if the address is a user's and none was mailed to
    /// them within half the time that tokens are good for, or five minutes where that
    /// is longer. Nothing that a caller could notice depends on that: the request is
    /// noted, and what comes of it is found out later. Tokens that were mailed before
    /// stay good until they expire.
    ///
    /// # Errors
    ///
    /// `InvalidField` for what is no address, `Overloaded`, `Unavailable`,
    /// `Internal`.
    pub async fn request_password_reset(&self, email: &str) -> Result<(), AuthError> {
        let email = Email::parse(email)?;
        let _turn = self.take_turn()?;
        let now = self.clock.now();
        let due_at = now + random_part_of(MAX_DELAY)?;
        self.db.request_password_reset(email, now, due_at).await?;
        Ok(())
    }

    /// Gives a user a reset token in place of the one that was last shown, to be shown
    /// to the caller; `None` where the address has no account. For callers that
    /// are trusted with that. A token that was mailed stays good.
    ///
    /// # Errors
    ///
    /// `InvalidField` for what is no address, `Overloaded`, `Unavailable`,
    /// `Internal`.
    pub async fn get_reset_password_token(
        &self,
        email: &str,
    ) -> Result<Option<ResetToken>, AuthError> {
        let email = Email::parse(email)?;
        let _turn = self.take_turn()?;
        let Some(user) = self.db.find_user_by(UserBy::Email(email)).await? else {
            return Ok(None);
        };
        let now = self.clock.now();
        let reset = NewReset::generate(now + self.settings.reset_ttl)?;
        let changes = UserChanges {
            reset: Some((reset.pending, now)),
            ..UserChanges::default()
        };
        let updated = self.db.update_user(user.id, changes).await?;
        Ok(updated.map(|_| reset.token))
    }

    /// Sets a new password for the user to whom a reset token was given; where
    /// `email` is said, it has to be theirs. All their tokens are used up, every
    /// session of theirs ends, and a notice goes to them. It opens no session.
    ///
    /// # Errors
    ///
    /// `ResetTokenInvalid`, `InvalidField`, `Overloaded`, `Unavailable`,
    /// `Internal`.
    pub async fn update_password(
        &self,
        reset_token: &str,
        new_password: String,
        email: Option<&str>,
        deadline: Deadline,
    ) -> Result<User, AuthError> {
        let digest = ResetToken::parse(reset_token)
            .ok_or(AuthError::ResetTokenInvalid)?
            .digest();
        let admission = self.passwords.admission(Purpose::PasswordReset, deadline)?;
        let now = self.clock.now();
        let look_up = self.look_up_permit().await?;
        let found = self.db.find_user_by(UserBy::ResetToken(digest)).await?;
        drop(look_up);
        let user = found
            .filter(|user| {
                let reset = user.resets.find(digest);
                reset.is_some_and(|reset| reset.is_good(now, self.settings.reset_ttl))
            })
            .filter(|user| {
                email.is_none_or(|email| Email::parse(email).as_ref() == Ok(&user.email))
            })
            .ok_or(AuthError::ResetTokenInvalid)?;
        let new_password = self.admit_new_password(new_password, &user.email)?;
        let hashed_password = self.passwords.hash(new_password, admission).await?;
        let change = PasswordChange {
            user,
            proof: ChangeProof::ResetToken(digest),
            hashed_password,
            opened: None,
            at: self.clock.now(),
        };
        match self.db.change_password(change).await {
            Ok(changed) => {
                self.forget(changed.ended);
                self.mail_delivery.wake();
                Ok(changed.user)
            }
            Err(ChangePasswordError::ProofGone | ChangePasswordError::PasswordChanged) => {
                Err(AuthError::ResetTokenInvalid)
            }
            Err(ChangePasswordError::Db(error)) => Err(error.into()),
        }
    }

    /// Asking for a token costs its caller nothing, and the database a write:
    /// those who ask must not keep everybody else from writing.
    fn take_turn(&self) -> Result<SemaphorePermit<'_>, AuthError> {
        self.resets
            .try_acquire()
            .map_err(|_| AuthError::Overloaded {
                retry_after: RETRY_REQUEST,
            })
    }

    /// A reset token to be mailed, for a mail that has one, unless one was mailed a moment
    /// ago. At half its life at the earliest, so that of three tokens the first has
    /// expired: two are kept.
    pub(in crate::auth) fn offer_reset(
        &self,
        now: DateTime<Utc>,
    ) -> OfferedReset<impl FnOnce() -> Result<NewReset, getrandom::Error> + Send + 'static> {
        let ttl = self.settings.reset_ttl;
        OfferedReset {
            unless_mailed_since: now - LEAST_BETWEEN_MAILS.max(ttl / 2),
            make: move || NewReset::generate(now + ttl),
        }
    }
}

fn random_part_of(whole: Duration) -> Result<Duration, AuthError> {
    let mut random = [0; 4];
    getrandom::fill(&mut random)?;
    Ok(whole.mul_f64(f64::from(u32::from_be_bytes(random)) / f64::from(u32::MAX)))
}
