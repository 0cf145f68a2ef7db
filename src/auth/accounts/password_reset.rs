//! Setting a new password with a mailed token.

use std::time::Duration;

use chrono::{DateTime, Utc};
use tokio::sync::SemaphorePermit;

use crate::auth::{Auth, AuthError};
use crate::{
    db::{ChangePasswordError, ChangeProof, OfferedReset, PasswordChange, UserBy, UserChange},
    domain::{Email, NewReset, ResetToken, User},
    passwords::Purpose,
    request_context::RequestContext,
};

/// The largest number of concurrent requests for a reset token.
pub(in crate::auth) const REQUESTS_AT_ONCE: usize = 16;

/// The delay suggested to further requests.
const RETRY_REQUEST: Duration = Duration::from_secs(1);

/// The shortest time between two mails with a reset token to one user: at most twelve an
/// hour, however many strangers ask.
const LEAST_BETWEEN_MAILS: Duration = Duration::from_secs(300);

/// The upper limit of the random delay after which a request is processed. Without it, the
/// work for a known address would show in the response time of the next request.
const MAX_DELAY: Duration = Duration::from_secs(1);

impl Auth {
    /// Mails a reset token to the user with this address, if there is one and no token was
    /// mailed to them within half the lifetime of tokens, or five minutes if
    /// longer. Callers cannot notice any of this: the request is stored and processed
    /// later. Tokens mailed earlier stay valid until they expire.
    ///
    /// # Errors
    ///
    /// `InvalidField` for an invalid address, `Overloaded`, `Unavailable`, `Internal`.
    pub async fn request_password_reset(
        &self,
        email: &str,
        _context: &RequestContext<'_>,
    ) -> Result<(), AuthError> {
        let email = Email::parse(email)?;
        let _permit = self.request_permit()?;
        let now = self.clock.now();
        let due_at = now + random_part_of(MAX_DELAY)?;
        self.db.request_password_reset(email, now, due_at).await?;
        Ok(())
    }

    /// Makes a reset token to be returned to a trusted caller, in place of the last one
    /// made here; `None` if the address has no account. Mailed tokens stay valid.
    ///
    /// # Errors
    ///
    /// `InvalidField` for an invalid address, `Overloaded`, `Unavailable`, `Internal`.
    pub async fn get_reset_password_token(
        &self,
        email: &str,
        _context: &RequestContext<'_>,
    ) -> Result<Option<ResetToken>, AuthError> {
        let email = Email::parse(email)?;
        let _permit = self.request_permit()?;
        let Some(user) = self.db.find_user_by(UserBy::Email(email)).await? else {
            return Ok(None);
        };
        let now = self.clock.now();
        let reset = NewReset::generate(now + self.settings.reset_ttl)?;
        let added = UserChange::AddResetToken {
            reset: reset.pending,
            now,
        };
        let is_added = self.db.update_user(user.id, added).await?;
        Ok(is_added.then_some(reset.token))
    }

    /// Sets a new password for the user of a reset token; a given `email` has to be the
    /// user's. All of the user's tokens become invalid, all of their sessions end, and a
    /// notice is mailed to them. No session is opened.
    ///
    /// # Errors
    ///
    /// `ResetTokenInvalid`, `InvalidField`, `Overloaded`, `Unavailable`, `Internal`.
    pub async fn update_password(
        &self,
        reset_token: &str,
        new_password: String,
        email: Option<&str>,
        context: &RequestContext<'_>,
    ) -> Result<User, AuthError> {
        let digest = ResetToken::parse(reset_token)
            .ok_or(AuthError::ResetTokenInvalid)?
            .digest();
        let admission = self
            .passwords
            .admission(Purpose::PasswordReset, context.deadline())?;
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
                self.invalidate_user(changed.user.id, changed.ended);
                self.mail_delivery.wake();
                Ok(changed.user)
            }
            Err(ChangePasswordError::ProofGone | ChangePasswordError::PasswordChanged) => {
                Err(AuthError::ResetTokenInvalid)
            }
            Err(ChangePasswordError::Db(error)) => Err(error.into()),
        }
    }

    /// A request for a token is cheap for its caller but writes to the database. Floods of
    /// them must not block other writers.
    fn request_permit(&self) -> Result<SemaphorePermit<'_>, AuthError> {
        self.resets
            .try_acquire()
            .map_err(|_| AuthError::Overloaded {
                retry_after: RETRY_REQUEST,
            })
    }

    /// A reset token for a mail, unless one was mailed recently. At most one is mailed per
    /// half lifetime, so that of three tokens the first has expired: two are stored.
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
