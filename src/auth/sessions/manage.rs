//! Listing and revoking the sessions of a user.

use std::cmp::Reverse;

use tokio::sync::AcquireError;

use crate::auth::{Auth, AuthError, Field, LiveSession};
use crate::{
    domain::{Session, SessionHandle, SessionPosition, UserId},
    request_context::RequestContext,
};

/// The largest number of sessions in one page.
pub const MAX_PAGE_SIZE: usize = 100;

/// The number of rows read at once for a page.
const ROWS_AT_ONCE: u32 = 100;

/// A page of the open sessions of a user. Each page has sessions opened earlier than those
/// of the page before.
#[derive(Debug)]
pub struct SessionPage {
    /// Ordered by their last use, latest first.
    pub sessions: Vec<LiveSession>,
    /// The session that made the request, whichever page it is on.
    pub current: SessionHandle,
    /// The token for the next page, if there is one.
    pub next_page_token: Option<String>,
}

fn page_size_of(page_size: i32) -> Result<usize, AuthError> {
    match usize::try_from(page_size) {
        Ok(0) => Ok(MAX_PAGE_SIZE),
        Ok(size) => Ok(size.min(MAX_PAGE_SIZE)),
        Err(_) => {
            let problem = format!("is negative; write 1 to {MAX_PAGE_SIZE}, or 0");
            Err(AuthError::invalid(Field::PageSize, &problem))
        }
    }
}

/// The position at which a page begins; `None` for the first page.
fn position_of(page_token: &str) -> Result<Option<SessionPosition>, AuthError> {
    if page_token.is_empty() {
        return Ok(None);
    }
    let position = SessionPosition::from_token(page_token);
    let invalid = || {
        let problem = "is none that ListSessions gave; leave it out for the first page";
        AuthError::invalid(Field::PageToken, &problem)
    };
    position.map(Some).ok_or_else(invalid)
}

impl Auth {
    /// A page of the open sessions of the user who owns this session: those after
    /// `page_token` (empty for the first page), at most `page_size` of them, or 100 if that
    /// is 0 or more than 100.
    ///
    /// # Errors
    ///
    /// `SessionInvalid`, `InvalidField` for a negative size or an invalid token,
    /// `Unavailable`, `Internal`.
    pub async fn list_sessions(
        &self,
        session_id: &str,
        page_size: i32,
        page_token: &str,
        context: &RequestContext<'_>,
    ) -> Result<SessionPage, AuthError> {
        let current = self.get_user_from_session_id(session_id, context).await?;
        let size = page_size_of(page_size)?;
        let after = position_of(page_token)?;
        // Concurrent lists wait for each other, as long as their callers do, and leave
        // connections to other work.
        let closed = |error: AcquireError| AuthError::Internal(error.into());
        let _listing = self.listings.acquire().await.map_err(closed)?;
        let _look_up = self.look_ups.acquire().await.map_err(closed)?;
        let (mut sessions, next) = self.open_sessions(current.owner.id, after, size).await?;
        sessions.sort_by_key(|session| Reverse(session.last_seen_at));
        let sessions = sessions.into_iter().map(|session| self.live(session));
        Ok(SessionPage {
            sessions: sessions.collect(),
            current: current.live.session.handle,
            next_page_token: next.map(SessionPosition::to_token),
        })
    }

    /// At most `size` open sessions of a user after a position, and the position after which
    /// the next page begins.
    async fn open_sessions(
        &self,
        user_id: UserId,
        mut after: Option<SessionPosition>,
        size: usize,
    ) -> Result<(Vec<Session>, Option<SessionPosition>), AuthError> {
        let mut open: Vec<Session> = Vec::new();
        loop {
            // Expired sessions stay in the table for a while. A small page does not take more
            // queries to get past them than a large one.
            let page = self.db.list_sessions(user_id, after, ROWS_AT_ONCE).await?;
            for (digest, session) in page.items {
                let session = self.with_last_use(digest, session);
                if !self.is_live(session.times()) {
                    continue;
                }
                if open.len() == size {
                    let next = open.last().map(Session::position);
                    return Ok((open, next));
                }
                open.push(session);
            }
            after = page.next;
            if after.is_none() {
                return Ok((open, None));
            }
        }
    }

    /// Ends the session with this handle, if it belongs to the user who owns `session_id`.
    /// After `Ok` the end is on disk.
    ///
    /// # Errors
    ///
    /// `SessionInvalid`, `InvalidField` if the user has no open session with this handle,
    /// `Unavailable`, `Internal`.
    pub async fn revoke_session(
        &self,
        session_id: &str,
        handle: &str,
        _context: &RequestContext<'_>,
    ) -> Result<(), AuthError> {
        let (by, current) = self.authenticate(session_id).await?;
        if handle.is_empty() {
            let problem = "is missing; ListSessions has the handles of this user's sessions";
            return Err(AuthError::invalid(Field::Handle, &problem));
        }
        let unknown = || {
            let problem = "names no open session of this user; ListSessions has their handles";
            AuthError::invalid(Field::Handle, &problem)
        };
        let handle = SessionHandle::parse(handle).ok_or_else(unknown)?;
        // An invented handle causes no write.
        if !self.db.has_session(current.owner.id, handle).await? {
            return Err(unknown());
        }
        let was_open = self.clone().into_was_open();
        let ended = self.db.remove_session_by_handle(by, handle, was_open);
        match ended.await? {
            None => {
                self.invalidate([by]);
                Err(AuthError::SessionInvalid)
            }
            Some(None) => Err(unknown()),
            Some(Some((ended, was_open))) => {
                self.invalidate([ended.digest]);
                // The caller's own session was open when it was authenticated.
                match was_open || ended.digest == by {
                    true => Ok(()),
                    false => Err(unknown()),
                }
            }
        }
    }

    /// Ends all other sessions of the user who owns this one, and returns how many were
    /// open. After `Ok` their end is on disk.
    ///
    /// # Errors
    ///
    /// `SessionInvalid`, `Unavailable`, `Internal`.
    pub async fn revoke_other_sessions(
        &self,
        session_id: &str,
        _context: &RequestContext<'_>,
    ) -> Result<usize, AuthError> {
        let (by, current) = self.authenticate(session_id).await?;
        let was_open = self.clone().into_was_open();
        let Some(ended) = self.db.remove_other_sessions(by, was_open).await? else {
            self.invalidate([by]);
            return Err(AuthError::SessionInvalid);
        };
        self.invalidate_user(
            current.owner.id,
            ended.iter().map(|(ended, _)| ended.digest),
        );
        Ok(ended.iter().filter(|(_, was_open)| *was_open).count())
    }
}
