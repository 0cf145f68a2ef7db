//! Changing a password, and everything that changes with it.

use chrono::{DateTime, Utc};
use thiserror::Error;

use crate::{
    db::{
        Db, DbError,
        outgoing_mails::{self, MailKind},
        sessions,
        users::{self, UserBy},
    },
    domain::{HashedPassword, ResetDigest, Session, SessionDigest, User},
};

/// The permission to change a password. It is checked again in the unit of work that makes
/// the change.
#[derive(Clone, Copy, Debug)]
pub enum ChangeProof {
    /// A session of the user, together with the current password.
    Session(SessionDigest),
    /// One of the user's reset tokens.
    ResetToken(ResetDigest),
}

/// A change of a password.
#[derive(Clone, Debug)]
pub struct PasswordChange {
    /// The user, as found by the proof.
    pub user: User,
    /// The permission.
    pub proof: ChangeProof,
    /// The stored hash of the new password.
    pub hashed_password: HashedPassword,
    /// A session to open in place of the ended ones; it gets the new credential version.
    pub opened: Option<(SessionDigest, Session)>,
    /// The time of the change.
    pub at: DateTime<Utc>,
}

/// The result of a change.
#[derive(Debug)]
pub struct ChangedPassword {
    /// The user after the change.
    pub user: User,
    /// The digests of the ended sessions.
    pub ended: Vec<SessionDigest>,
    /// The opened session.
    pub opened: Option<Session>,
}

/// The reason why a password was not changed. Nothing else has changed either.
#[derive(Debug, Error)]
pub enum ChangePasswordError {
    /// The session has ended, or the reset token has been used, in the meantime.
    #[error("the session or reset token that allowed the change is no longer valid")]
    ProofGone,
    /// Another change of the password came first.
    #[error("the password was changed in the meantime")]
    PasswordChanged,
    /// The database failed.
    #[error(transparent)]
    Db(#[from] DbError),
}

impl Db {
    /// Changes a user's password in one unit of work: all sessions end, reset tokens and
    /// pending requests for one become void, and a notice to the user is added to the
    /// outgoing mails. Of several concurrent changes, one succeeds.
    ///
    /// # Errors
    ///
    /// When the proof or the password has changed in the meantime, or the database fails.
    pub async fn change_password(
        &self,
        change: PasswordChange,
    ) -> Result<ChangedPassword, ChangePasswordError> {
        self.write(move |connection| {
            let id = change.user.id;
            let locked = users::lock_user(connection, id)?.ok_or(ChangePasswordError::ProofGone)?;
            let is_proven = match change.proof {
                ChangeProof::ResetToken(digest) => locked.resets.find(digest).is_some(),
                ChangeProof::Session(digest) => sessions::find(connection, digest)?.is_some(),
            };
            if !is_proven {
                return Err(ChangePasswordError::ProofGone);
            }
            if locked.credential_version != change.user.credential_version {
                return Err(ChangePasswordError::PasswordChanged);
            }
            users::set_password(connection, id, &change.hashed_password)?;
            let ended = sessions::remove_all(connection, id)?;
            let user =
                users::find(connection, &UserBy::Id(id))?.ok_or(ChangePasswordError::ProofGone)?;
            let opened = match change.opened {
                Some((digest, mut session)) => {
                    session.credential_version = user.credential_version;
                    sessions::add(connection, digest, &session)?;
                    Some(session)
                }
                None => None,
            };
            // The user has a new password and needs no token for another.
            outgoing_mails::remove_password_reset(connection, &user.email)?;
            outgoing_mails::add(
                connection,
                MailKind::PasswordChanged,
                &user.email,
                change.at,
            )?;
            Ok(ChangedPassword {
                user,
                ended,
                opened,
            })
        })
        .await
    }
}
