//! Changing a password with the current one.

use crate::auth::{Auth, AuthError, Field, OpenedSession};
use crate::{
    db::{ChangePasswordError, ChangeProof, PasswordChange},
    domain::{Email, NewPassword, Password, PasswordPolicyError, SessionDigest, User},
    passwords::{Purpose, Verdict},
    request_context::RequestContext,
};

impl Auth {
    /// Sets a new password for the user of this session, ends all of the user's sessions
    /// including this one, opens a new session, and mails a notice to the user.
    ///
    /// # Errors
    ///
    /// `SessionInvalid`, `InvalidField`, `WrongPassword`, `Overloaded`, `Unavailable`,
    /// `Internal`.
    pub async fn change_password(
        &self,
        session_id: &str,
        current_password: String,
        new_password: String,
        context: &RequestContext<'_>,
    ) -> Result<OpenedSession, AuthError> {
        let admission = self
            .passwords
            .admission(Purpose::PasswordChange, context.deadline())?;
        let (digest, _) = self.authenticate(session_id).await?;
        let user = self.stored_user(digest).await?;
        if current_password.is_empty() {
            let missing = PasswordPolicyError::Missing;
            return Err(AuthError::invalid(Field::CurrentPassword, &missing));
        }
        let new_password = self.admit_new_password(new_password, &user.email)?;
        let current_password = Password::new(current_password);
        let stored = user.hashed_password.clone();
        let verdict = self
            .verdict(Some(&user), &current_password, stored, admission, context)
            .await?;
        if verdict == Verdict::Wrong {
            return Err(AuthError::WrongPassword);
        }
        if new_password.is(&current_password) {
            return Err(AuthError::invalid(
                Field::NewPassword,
                &PasswordPolicyError::Unchanged,
            ));
        }
        let hashed_password = self.passwords.hash(new_password, admission).await?;
        let (token, session) = self.new_session(&user, context)?;
        let change = PasswordChange {
            user,
            proof: ChangeProof::Session(digest),
            hashed_password,
            opened: Some((token.digest(), session)),
            at: self.clock.now(),
        };
        let reading = self.cache.begin_reading();
        let changed = match self.db.change_password(change).await {
            Err(ChangePasswordError::ProofGone) => return Err(AuthError::SessionInvalid),
            // Another request has just replaced the current password.
            Err(ChangePasswordError::PasswordChanged) => return Err(AuthError::WrongPassword),
            Err(ChangePasswordError::Db(error)) => return Err(error.into()),
            Ok(changed) => changed,
        };
        self.invalidate_user(changed.user.id, changed.ended);
        self.mail_delivery.wake();
        let session = changed
            .opened
            .ok_or_else(|| AuthError::Internal("no session was opened".into()))?;
        let kept = (token.digest(), session.clone(), changed.user.into());
        self.cache.insert(reading, [kept]);
        Ok(OpenedSession {
            token,
            live: self.live(session),
        })
    }

    /// The user of an [authenticated](Self::authenticate) session, with the columns that the
    /// cache does not hold. The last use of the session may not be written yet, so its stored
    /// times do not tell whether it is open.
    async fn stored_user(&self, digest: SessionDigest) -> Result<User, AuthError> {
        let found = self.db.find_session(digest).await?;
        found.map(|(_, user)| user).ok_or(AuthError::SessionInvalid)
    }

    pub(in crate::auth) fn admit_new_password(
        &self,
        new_password: String,
        email: &Email,
    ) -> Result<NewPassword, AuthError> {
        self.settings
            .password_policy
            .admit(new_password, email)
            .map_err(|error| AuthError::invalid(Field::NewPassword, &error))
    }
}
