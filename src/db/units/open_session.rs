//! Opening a session.

use diesel::{ExpressionMethods as _, QueryDsl as _, RunQueryDsl as _};

use crate::{
    db::{
        Db, DbError,
        schema::sessions,
        sessions::{add, owner_of, remove_beyond},
        users::{lock_user, lock_users},
    },
    domain::{Session, SessionDigest},
};

impl Db {
    /// Adds a session to its user. Ends the session that it replaces, if any, and, where the
    /// user would have more than `limit` sessions, those seen longest ago; returns the
    /// digests of the ended ones. `None`, and nothing has changed, when the user has been
    /// deleted or has another credential version than the session.
    ///
    /// # Errors
    ///
    /// When the database fails.
    pub async fn add_session(
        &self,
        digest: SessionDigest,
        session: Session,
        replaced: Option<SessionDigest>,
        limit: u32,
    ) -> Result<Option<Vec<SessionDigest>>, DbError> {
        self.write(move |connection| {
            // The replaced session may belong to another user.
            if let Some(replaced) = replaced
                && let Some(owner) = owner_of(connection, replaced)?
            {
                lock_users(connection, [owner, session.user_id])?;
            }
            // Under this lock, a later change of the password ends this session too.
            let user = lock_user(connection, session.user_id)?;
            if user.map(|user| user.credential_version) != Some(session.credential_version) {
                return Ok(None);
            }
            let mut ended = Vec::new();
            if let Some(replaced) = replaced {
                let session = sessions::table.filter(sessions::digest.eq(replaced.as_bytes()));
                if diesel::delete(session).execute(connection)? > 0 {
                    ended.push(replaced);
                }
            }
            let limit = limit.saturating_sub(1);
            ended.extend(remove_beyond(connection, session.user_id, limit)?);
            add(connection, digest, &session)?;
            Ok(Some(ended))
        })
        .await
    }
}
