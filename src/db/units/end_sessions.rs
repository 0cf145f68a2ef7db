//! Ending sessions at their owner's request.

use diesel::{
    ExpressionMethods as _, OptionalExtension as _, QueryDsl as _, RunQueryDsl as _, Selectable,
    sqlite::Sqlite,
};

use crate::{
    db::{
        Db, DbError,
        connection::AnyConnection,
        schema::sessions,
        sessions::{EndedRow, EndedSession, current_owner_of, owner_of},
        users::lock_users,
    },
    domain::{SessionDigest, SessionHandle, UserId},
};

/// The columns of an [`EndedRow`], the same on both databases.
fn ended_columns() -> <EndedRow as Selectable<Sqlite>>::SelectExpression {
    <EndedRow as Selectable<Sqlite>>::construct_selection()
}

/// Locks the owner of a session until the unit of work ends, so that no other unit of work
/// opens or ends sessions of that user. `None` where there is no such session, or it was
/// opened before the user's current password. Damage to either row does not matter.
fn lock_owner(
    connection: &mut AnyConnection,
    digest: SessionDigest,
) -> Result<Option<UserId>, DbError> {
    let Some(owner) = owner_of(connection, digest)? else {
        return Ok(None);
    };
    lock_users(connection, [owner])?;
    current_owner_of(connection, digest)
}

impl Db {
    /// Ends a session and returns it; `None` when there was none. Of several concurrent calls
    /// for one session, one returns it.
    ///
    /// # Errors
    ///
    /// When the database fails.
    pub async fn remove_session(
        &self,
        digest: SessionDigest,
    ) -> Result<Option<EndedSession>, DbError> {
        self.write(move |connection| {
            let is_current = lock_owner(connection, digest)?.is_some();
            let session = sessions::table.filter(sessions::digest.eq(digest.as_bytes()));
            let ended: Option<EndedRow> = diesel::delete(session)
                .returning(ended_columns())
                .get_result(connection)
                .optional()?;
            let ended = ended.filter(|_| is_current);
            Ok(ended.and_then(EndedRow::into_ended))
        })
        .await
    }

    /// Ends the session with a handle, of the owner of the session `by`, and returns it with the
    /// result of `was_open`, which is asked before the end is visible to others. The outer
    /// `None`: `by` has ended, and nothing has changed.
    ///
    /// # Errors
    ///
    /// When the database fails.
    pub async fn remove_session_by_handle(
        &self,
        by: SessionDigest,
        handle: SessionHandle,
        was_open: impl Fn(&EndedSession) -> bool + Send + 'static,
    ) -> Result<Option<Option<(EndedSession, bool)>>, DbError> {
        self.write(move |connection| {
            let Some(owner) = lock_owner(connection, by)? else {
                return Ok(None);
            };
            let session = sessions::table
                .filter(sessions::handle.eq(handle.to_string()))
                .filter(sessions::user_id.eq(owner.0));
            let ended: Option<EndedRow> = diesel::delete(session)
                .returning(ended_columns())
                .get_result(connection)
                .optional()?;
            let ended = ended.and_then(EndedRow::into_ended);
            Ok(Some(ended.map(|ended| (ended, was_open(&ended)))))
        })
        .await
    }

    /// Ends all other sessions of the owner of the session `by`, and returns them, each with the
    /// result of `was_open`, which is asked before the end is visible to others. `None`: `by` has
    /// ended, and nothing has changed.
    ///
    /// # Errors
    ///
    /// When the database fails.
    pub async fn remove_other_sessions(
        &self,
        by: SessionDigest,
        was_open: impl Fn(&EndedSession) -> bool + Send + 'static,
    ) -> Result<Option<Vec<(EndedSession, bool)>>, DbError> {
        self.write(move |connection| {
            let Some(owner) = lock_owner(connection, by)? else {
                return Ok(None);
            };
            let others = sessions::table
                .filter(sessions::user_id.eq(owner.0))
                .filter(sessions::digest.ne(by.as_bytes()));
            let ended: Vec<EndedRow> = diesel::delete(others)
                .returning(ended_columns())
                .get_results(connection)?;
            let ended = ended.into_iter().filter_map(EndedRow::into_ended);
            Ok(Some(ended.map(|ended| (ended, was_open(&ended))).collect()))
        })
        .await
    }
}
