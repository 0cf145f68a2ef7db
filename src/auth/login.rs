//! Checking an e-mail and its password.

use super::{Auth, AuthError, Field};
use crate::{
    db::{DbError, UserBy},
    domain::{Email, Password, PasswordPolicyError, User},
    passwords::{HashingError, Verdict},
};

impl Auth {
    /// The user whose e-mail and password these are.
    ///
    /// Known and unknown e-mails take the same path: the same look-ups, one
    /// verification, the same answer.
    ///
    /// # Errors
    ///
    /// `InvalidField`, `InvalidCredentials`, `Overloaded`, `Unavailable`,
    /// `Internal`.
    pub async fn valid_login(&self, email: &str, password: String) -> Result<User, AuthError> {
        let email = Email::parse(email)?;
        if password.is_empty() {
            return Err(AuthError::invalid(
                Field::Password,
                &PasswordPolicyError::Missing,
            ));
        }
        let sampled = match self
            .db
            .sample_hashed_password(self.decoys.number(&email))
            .await
        {
            // Somebody else's damaged row is no matter of this login.
            Err(DbError::Fault(_)) => None,
            sampled => sampled?,
        };
        let user = self.db.find_user_by(UserBy::Email(email)).await?;
        let stored = match &user {
            Some(user) => user.hashed_password.clone(),
            None => sampled.unwrap_or_else(|| self.passwords.decoy()),
        };
        let password = Password::new(password);
        let verdict = self.passwords.verify(&password, stored).await;
        match (verdict, user) {
            (Ok(Verdict::Right | Verdict::Outdated), Some(user)) => Ok(user),
            (Ok(_), _) => Err(AuthError::InvalidCredentials),
            // An answer of its own would tell that the account exists.
            (Err(HashingError::Unreadable(why)), user) => {
                if let Some(user) = user {
                    tracing::error!(
                        user_id = user.id.0,
                        "the stored password cannot be used, {why}: this user has to set a new one"
                    );
                }
                Err(AuthError::InvalidCredentials)
            }
            (Err(error), _) => Err(error.into()),
        }
    }
}
