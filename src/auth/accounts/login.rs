//! Logging in with an e-mail and a password.

use std::time::Instant;

use tokio::time;

use crate::auth::{Auth, AuthError, Field, OpenedSession};
use crate::{
    db::{LoginTarget, UserChange},
    domain::{Email, HashedPassword, Password, PasswordPolicyError, SessionOwner, User},
    error_chain::with_causes,
    passwords::{Admission, HashingError, Purpose, UnreadableHash, Verdict},
    request_context::RequestContext,
};

/// The e-mail and password of a login, as the caller sent them.
pub struct Credentials<'a> {
    /// The e-mail in any spelling that `Register` accepts.
    pub email: &'a str,
    /// The password.
    pub password: String,
    /// A `session_id` that came with the request. The new session replaces its session.
    pub replaces: Option<&'a str>,
}

/// The outcome of a login with the right password. Handlers match every variant, so that
/// none of them can skip a further step of the login.
#[derive(Debug)]
pub enum LoggedIn {
    /// The user is logged in.
    Session {
        /// The session, with its secret.
        opened: OpenedSession,
        /// The user.
        owner: SessionOwner,
    },
}

impl Auth {
    /// Checks an e-mail and its password and opens a session.
    ///
    /// # Errors
    ///
    /// `InvalidField`, `InvalidCredentials`, `Overloaded`, `Unavailable`, `Internal`.
    pub async fn log_in(
        &self,
        credentials: Credentials<'_>,
        context: &RequestContext<'_>,
    ) -> Result<LoggedIn, AuthError> {
        let Credentials {
            email,
            password,
            replaces,
        } = credentials;
        let user = self.valid_login(email, password, context).await?;
        let opened = self.create_session(&user, replaces, context).await?;
        Ok(LoggedIn::Session {
            opened,
            owner: user.into(),
        })
    }

    /// The user with this e-mail and password. Handlers call [`log_in`](Self::log_in).
    ///
    /// Known and unknown e-mails take the same path: the same look-ups, one verification,
    /// the same reply. A login without hashing capacity is refused before that.
    ///
    /// # Errors
    ///
    /// `InvalidField`, `InvalidCredentials`, `Overloaded`, `Unavailable`, `Internal`.
    pub(in crate::auth) async fn valid_login(
        &self,
        email: &str,
        password: String,
        context: &RequestContext<'_>,
    ) -> Result<User, AuthError> {
        let email = Email::parse(email)?;
        if password.is_empty() {
            return Err(AuthError::invalid(
                Field::Password,
                &PasswordPolicyError::Missing,
            ));
        }
        let deadline = context.deadline();
        let admission = self.passwords.admission(Purpose::Login, deadline)?;
        let slot = self.decoys.slot(&email);
        let (user, stored) = match self.db.find_login_target(email, slot).await? {
            LoginTarget::User(user) => {
                let stored = user.hashed_password.clone();
                (Some(user), stored)
            }
            LoginTarget::Decoy(stored) => (None, stored.unwrap_or_else(|| self.passwords.decoy())),
        };
        let password = Password::new(password);
        let verdict = self
            .verdict(user.as_ref(), &password, stored, admission, context)
            .await?;
        match (verdict, user) {
            (Verdict::Right, Some(user)) => Ok(user),
            (Verdict::Outdated, Some(user)) => {
                self.rehash(&user, &password, context).await;
                Ok(user)
            }
            _ => Err(AuthError::InvalidCredentials),
        }
    }

    /// Verifies a user's password. An unusable stored hash matches no password: a reply of
    /// its own would reveal the account.
    ///
    /// # Errors
    ///
    /// `Overloaded`, `Internal`.
    pub(in crate::auth) async fn verdict(
        &self,
        user: Option<&User>,
        password: &Password,
        stored: HashedPassword,
        admission: Admission,
        context: &RequestContext<'_>,
    ) -> Result<Verdict, AuthError> {
        match self.passwords.verify(password, stored, admission).await {
            Err(HashingError::Unreadable(why)) => {
                match user {
                    // An account imported without a password is no fault.
                    Some(_) if why == UnreadableHash::NoPassword => {}
                    Some(user) => tracing::error!(
                        user_id = user.id.0,
                        request_id = %context.request_id(),
                        "the stored password cannot be used, {why}: this user has to set a new one"
                    ),
                    None => {}
                }
                Ok(Verdict::Wrong)
            }
            verdict => Ok(verdict?),
        }
    }

    /// Replaces the hash of a verified password by one with the current settings. If there
    /// is no idle capacity for that, it is left to the next login, so that this one does
    /// not run out of time.
    async fn rehash(&self, user: &User, password: &Password, context: &RequestContext<'_>) {
        let deadline = context.deadline();
        let request_id = context.request_id();
        let half = deadline.remaining(Instant::now()) / 2;
        let hashed = self
            .passwords
            .rehash_if_idle(password, deadline.at_most(half));
        let Ok(Ok(hashed_password)) = time::timeout(half, hashed).await else {
            return;
        };
        let replaced = UserChange::ReplaceHash {
            before: user.hashed_password.clone(),
            after: hashed_password,
        };
        match self.db.update_user(user.id, replaced).await {
            Ok(true) => {
                tracing::info!(user_id = user.id.0, %request_id, "an outdated hash was replaced")
            }
            // The password was changed in the meantime.
            Ok(false) => {}
            Err(error) => tracing::warn!(
                user_id = user.id.0,
                %request_id,
                cause = with_causes(&error),
                "an outdated hash could not be replaced yet"
            ),
        }
    }
}
