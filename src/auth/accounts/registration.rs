//! Creating an account.

use crate::auth::{Auth, AuthError, Field};
use crate::{
    db::AddUserError,
    deadline::Deadline,
    domain::{Email, User},
    passwords::Purpose,
};

impl Auth {
    /// Creates an account.
    ///
    /// The work of a hash comes first, taken e-mail or not, so that its time
    /// tells no more than the answer does.
    ///
    /// # Errors
    ///
    /// `InvalidField`, `EmailTaken`, `Overloaded`, `Unavailable`, `Internal`.
    pub async fn register_user(
        &self,
        email: &str,
        password: String,
        deadline: Deadline,
    ) -> Result<User, AuthError> {
        let email = Email::parse(email)?;
        let password = self
            .settings
            .password_policy
            .admit(password, &email)
            .map_err(|error| AuthError::invalid(Field::Password, &error))?;
        let admission = self.passwords.admission(Purpose::Registration, deadline)?;
        let hashed_password = self.passwords.hash(password, admission).await?;
        let now = self.clock.now();
        match self.db.add_user(email.clone(), hashed_password, now).await {
            Ok(user) => Ok(user),
            Err(AddUserError::EmailTaken) => Err(AuthError::EmailTaken(email)),
            Err(AddUserError::Db(error)) => Err(error.into()),
        }
    }
}
