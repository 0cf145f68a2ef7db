//! Changing a password by those who know it.

use crate::auth::{Auth, AuthError, Field, OpenedSession};
use crate::{
    db::{ChangePasswordError, ChangeProof, PasswordChange},
    deadline::Deadline,
    domain::{Client, Email, NewPassword, Password, PasswordPolicyError, SessionDigest, User},
    passwords::{Purpose, Verdict},
};

impl Auth {
    /// Sets a new password for the user whose session this is, ends every
    /// session of theirs, this one included, and opens a fresh one. A notice
    /// goes to the user.
    ///
    /// # Errors
    ///
    /// `SessionInvalid`, `InvalidField`, `WrongPassword`, `Overloaded`,
    /// `Unavailable`, `Internal`.
    pub async fn change_password(
        &self,
        session_id: &str,
        current_password: String,
        new_password: String,
        client: Client,
        deadline: Deadline,
    ) -> Result<OpenedSession, AuthError> {
        let admission = self
            .passwords
            .admission(Purpose::PasswordChange, deadline)?;
        let (digest, _) = self.recognise(session_id).await?;
        let user = self.stored_user(digest).await?;
        if current_password.is_empty() {
            let missing = PasswordPolicyError::Missing;
            return Err(AuthError::invalid(Field::CurrentPassword, &missing));
        }
        let new_password = self.admit_new_password(new_password, &user.email)?;
        let current_password = Password::new(current_password);
        let stored = user.hashed_password.clone();
        let verdict = self
            .verdict(Some(&user), &current_password, stored, admission)
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
        let (token, session) = self.new_session(&user, client)?;
        let change = PasswordChange {
            user,
            proof: ChangeProof::Session(digest),
            hashed_password,
            opened: Some((token.digest(), session)),
            at: self.clock.now(),
        };
        let reading = self.index.begin_reading();
        let changed = match self.db.change_password(change).await {
            Err(ChangePasswordError::ProofGone) => return Err(AuthError::SessionInvalid),
            // The current password is that no longer.
            Err(ChangePasswordError::PasswordChanged) => return Err(AuthError::WrongPassword),
            Err(ChangePasswordError::Db(error)) => return Err(error.into()),
            Ok(changed) => changed,
        };
        self.forget(changed.ended);
        self.mail_delivery.wake();
        let session = changed
            .opened
            .ok_or_else(|| AuthError::Internal("no session was opened".into()))?;
        let kept = (token.digest(), session.clone(), changed.user.into());
        self.index.keep(reading, [kept]);
        Ok(OpenedSession {
            token,
            live: self.live(session),
        })
    }

    /// The user whose open session this is, with what memory does not have of them.
    async fn stored_user(&self, digest: SessionDigest) -> Result<User, AuthError> {
        let found = self.db.find_session(digest).await?;
        found
            .filter(|(session, _)| self.is_live(session.times()))
            .map(|(_, user)| user)
            .ok_or(AuthError::SessionInvalid)
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
