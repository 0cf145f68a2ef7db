//! Creating an account.

use crate::auth::{Auth, AuthError, Field};
use crate::{
    db::AddUserError,
    domain::{Email, User},
    passwords::Purpose,
    request_context::RequestContext,
};

impl Auth {
    /// Creates an account.
    ///
    /// The password is hashed first, whether or not the e-mail is taken, so that the
    /// response time reveals nothing more than the reply.
    ///
    /// # Errors
    ///
    /// `InvalidField`, `EmailTaken`, `Overloaded`, `Unavailable`, `Internal`.
    pub async fn register_user(
        &self,
        email: &str,
        password: String,
        context: &RequestContext<'_>,
    ) -> Result<User, AuthError> {
        let email = Email::parse(email)?;
        let password = self
            .settings
            .password_policy
            .admit(password, &email)
            .map_err(|error| AuthError::invalid(Field::Password, &error))?;
        let admission = self
            .passwords
            .admission(Purpose::Registration, context.deadline())?;
        let hashed_password = self.passwords.hash(password, admission).await?;
        let now = self.clock.now();
        match self.db.add_user(email.clone(), hashed_password, now).await {
            Ok(user) => Ok(user),
            Err(AddUserError::EmailTaken) => Err(AuthError::EmailTaken(email)),
            Err(AddUserError::Db(error)) => Err(error.into()),
        }
    }
}
