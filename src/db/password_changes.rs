//! How a password changes for its owner, and all that changes with it.

use chrono::{DateTime, Utc};
use thiserror::Error;

use super::{
    Db, DbError,
    outgoing_mails::{self, MailKind},
    sessions,
    users::{self, UserBy},
};
use crate::domain::{HashedPassword, ResetDigest, Session, SessionDigest, User};

/// What allows a password to be changed. It is looked at again in the unit of
/// work that changes it.
#[derive(Clone, Copy, Debug)]
pub enum ChangeProof {
    /// A session of the user, who has said the current password.
    Session(SessionDigest),
    /// One of the user's reset tokens.
    ResetToken(ResetDigest),
}

/// A change of a password.
#[derive(Clone, Debug)]
pub struct PasswordChange {
    /// The user, as found by the proof.
    pub user: User,
    /// What allows it.
    pub proof: ChangeProof,
    /// The new password's stored hash.
    pub hashed_password: HashedPassword,
    /// A session to open instead of those that end; it is given the new
    /// credential version.
    pub opened: Option<(SessionDigest, Session)>,
    /// When.
    pub at: DateTime<Utc>,
}

/// What came of it.
#[derive(Debug)]
pub struct ChangedPassword {
    /// The user, as they are then.
    pub user: User,
    /// The sessions that ended.
    pub ended: Vec<SessionDigest>,
    /// The session that was opened.
    pub opened: Option<Session>,
}

/// Why a password was not changed. Nothing else was changed then, either.
#[derive(Debug, Error)]
pub enum ChangePasswordError {
    /// The session has ended or the reset token was used meanwhile.
    #[error("what allowed the change does not hold any more")]
    ProofGone,
    /// Somebody else has changed the password meanwhile.
    #[error("the password was changed meanwhile")]
    PasswordChanged,
    /// The database could not.
    #[error(transparent)]
    Db(#[from] DbError),
}

impl Db {
    /// Changes a user's password: every session ends, no reset token is good any
    /// more, nor is one on its way, and a notice to the user is due, all in
    /// one unit of work. Of several that change it at once, one succeeds.
    ///
    /// # Errors
    ///
    /// When the proof or the password is not what it was, or the database
    /// cannot.
    pub async fn change_password(
        &self,
        change: PasswordChange,
    ) -> Result<ChangedPassword, ChangePasswordError> {
        self.write(move |connection| {
            let id = change.user.id;
            let held = users::hold(connection, id)?.ok_or(ChangePasswordError::ProofGone)?;
            let proven = match change.proof {
                ChangeProof::ResetToken(digest) => held.resets.find(digest).is_some(),
                ChangeProof::Session(digest) => sessions::find(connection, digest)?.is_some(),
            };
            if !proven {
                return Err(ChangePasswordError::ProofGone);
            }
            if held.credential_version != change.user.credential_version {
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
            // Whoever asked for a token before has no use for one any more.
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
