//! Setting a new password by those who have forgotten it.

use super::{Auth, AuthError};
use crate::{
    db::{ChangePasswordError, ChangeProof, MailKind, PasswordChange, UserBy, UserChanges},
    domain::{Email, PendingReset, ResetToken, User},
};

impl Auth {
    /// Sends a reset token to a user, if the address is a user's. Nothing that
    /// a caller could notice depends on that: the request is noted, and what
    /// comes of it is found out later.
    ///
    /// # Errors
    ///
    /// `InvalidField` for what is no address, `Unavailable`, `Internal`.
    pub async fn request_password_reset(&self, email: &str) -> Result<(), AuthError> {
        let email = Email::parse(email)?;
        let now = self.clock.now();
        self.db
            .add_outgoing_mail(MailKind::PasswordReset, email, now)
            .await?;
        self.outbox.wake();
        Ok(())
    }

    /// Gives a user a reset token in place of the one before, to be shown to
    /// whoever asked; `None` where the address is nobody's. For callers that
    /// are trusted with that.
    ///
    /// # Errors
    ///
    /// `InvalidField` for what is no address, `Unavailable`, `Internal`.
    pub async fn get_reset_password_token(
        &self,
        email: &str,
    ) -> Result<Option<ResetToken>, AuthError> {
        let email = Email::parse(email)?;
        let Some(user) = self.db.find_user_by(UserBy::Email(email)).await? else {
            return Ok(None);
        };
        let (token, reset) = self.new_reset()?;
        let changes = UserChanges {
            reset: Some(Some(reset)),
            ..UserChanges::default()
        };
        let updated = self.db.update_user(user.id, changes).await?;
        Ok(updated.map(|_| token))
    }

    /// Sets a new password for the user to whom a reset token was given; where
    /// `email` is said, it has to be theirs. The token is used up, every
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
    ) -> Result<User, AuthError> {
        let digest = ResetToken::parse(reset_token)
            .ok_or(AuthError::ResetTokenInvalid)?
            .digest();
        let now = self.clock.now();
        let user = self
            .db
            .find_user_by(UserBy::ResetToken(digest))
            .await?
            .filter(|user| user.reset.is_some_and(|reset| now < reset.expires_at))
            .filter(|user| {
                email.is_none_or(|email| Email::parse(email).as_ref() == Ok(&user.email))
            })
            .ok_or(AuthError::ResetTokenInvalid)?;
        let new_password = self.admit_new_password(new_password, &user.email)?;
        let hashed_password = self.passwords.hash(new_password).await?;
        let change = PasswordChange {
            user,
            proof: ChangeProof::ResetToken(digest),
            hashed_password,
            opened: None,
            at: self.clock.now(),
        };
        match self.db.change_password(change).await {
            Ok((user, _)) => {
                self.outbox.wake();
                Ok(user)
            }
            Err(ChangePasswordError::ProofGone | ChangePasswordError::PasswordChanged) => {
                Err(AuthError::ResetTokenInvalid)
            }
            Err(ChangePasswordError::Db(error)) => Err(error.into()),
        }
    }

    /// A reset token that is not stored yet.
    pub(super) fn new_reset(&self) -> Result<(ResetToken, PendingReset), AuthError> {
        let token = ResetToken::generate()?;
        let reset = PendingReset {
            digest: token.digest(),
            expires_at: self.clock.now() + self.settings.reset_ttl,
        };
        Ok((token, reset))
    }
}
