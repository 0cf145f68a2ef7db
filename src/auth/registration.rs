//! Creating an account.

use super::{Auth, AuthError, Field};
use crate::domain::{Email, User};

impl Auth {
    /// Creates an account.
    ///
    /// The work of a hash comes first, taken address or not, so that its time
    /// tells no more than the answer does.
    ///
    /// # Errors
    ///
    /// `InvalidField`, `EmailTaken`, `Overloaded`, `Unavailable`, `Internal`.
    pub async fn register_user(&self, email: &str, password: String) -> Result<User, AuthError> {
        let email =
            Email::parse(email).map_err(|error| AuthError::invalid(Field::Email, &error))?;
        let password = self
            .password_policy
            .admit(password, &email)
            .map_err(|error| AuthError::invalid(Field::Password, &error))?;
        let hashed_password = self.passwords.hash(password).await?;
        self.db
            .add_user(email.clone(), hashed_password, self.clock.now())
            .await
            .map_err(|error| AuthError::from_adding(error, email))
    }
}
