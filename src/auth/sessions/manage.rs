//! A user's sessions on all their devices.

use std::cmp::Reverse;

use tokio::sync::AcquireError;

use crate::auth::{Auth, AuthError, Field, LiveSession};
use crate::domain::{Session, SessionHandle, SessionPosition};

/// The most sessions that are listed at once.
pub const MOST_LISTED: usize = 100;

/// Some of the open sessions of a user: a page has those that were opened before those
/// of the page before it.
#[derive(Debug)]
pub struct SessionPage {
    /// Those seen last come first.
    pub sessions: Vec<LiveSession>,
    /// The session that was presented, on whichever page it is.
    pub current: SessionHandle,
    /// What to ask for the next page with, if there is one.
    pub next_page_token: Option<String>,
}

fn page_size_of(page_size: i32) -> Result<usize, AuthError> {
    match usize::try_from(page_size) {
        Ok(0) => Ok(MOST_LISTED),
        Ok(size) => Ok(size.min(MOST_LISTED)),
        Err(_) => {
            let problem = format!("is negative; write 1 to {MOST_LISTED}, or 0");
            Err(AuthError::invalid(Field::PageSize, &problem))
        }
    }
}

/// Where a page begins; `None` for the first one.
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
    /// A page of the open sessions of the user whose session this is. At most 100, or
    /// `page_size` if that is less and not 0, of those that come after `page_token`, an
    /// empty one being the start.
    ///
    /// # Errors
    ///
    /// `SessionInvalid`, `InvalidField` for a negative size or what is no token,
    /// `Unavailable`, `Internal`.
    pub async fn list_sessions(
        &self,
        session_id: &str,
        page_size: i32,
        page_token: &str,
    ) -> Result<SessionPage, AuthError> {
        let current = self.get_user_from_session_id(session_id).await?;
        let size = page_size_of(page_size)?;
        let mut next = position_of(page_token)?;
        // A flood of lists leaves connections to everything else. It waits for itself,
        // for as long as its callers do.
        let closed = |error: AcquireError| AuthError::Internal(error.into());
        let _listing = self.listings.acquire().await.map_err(closed)?;
        let _look_up = self.look_ups.acquire().await.map_err(closed)?;
        let mut sessions: Vec<Session> = Vec::new();
        // Sessions that have expired are still in the table for a while.
        while let Some(left @ 1..) = size.checked_sub(sessions.len()) {
            let left = u32::try_from(left).unwrap_or(u32::MAX);
            let page = self.db.list_sessions(current.owner.id, next, left);
            let page = page.await?;
            let known = page.items.into_iter();
            let known = known.map(|(digest, session)| self.with_last_use(digest, session));
            sessions.extend(known.filter(|session| self.is_live(session.times())));
            next = page.next;
            if next.is_none() {
                break;
            }
        }
        sessions.sort_by_key(|session| Reverse(session.last_seen_at));
        let sessions = sessions.into_iter().map(|session| self.live(session));
        Ok(SessionPage {
            sessions: sessions.collect(),
            current: current.live.session.handle,
            next_page_token: next.map(SessionPosition::to_token),
        })
    }

    /// Ends the session that a handle names, of the user whose session this
    /// is. When this returns `Ok` the end is on disk.
    ///
    /// # Errors
    ///
    /// `SessionInvalid`, `InvalidField` when the handle names no open session
    /// of this user, `Unavailable`, `Internal`.
    pub async fn revoke_session(&self, session_id: &str, handle: &str) -> Result<(), AuthError> {
        let (by, current) = self.recognise(session_id).await?;
        if handle.is_empty() {
            let problem = "is missing; ListSessions has the handles of this user's sessions";
            return Err(AuthError::invalid(Field::Handle, &problem));
        }
        let unknown = || {
            let problem = "names no open session of this user; ListSessions has their handles";
            AuthError::invalid(Field::Handle, &problem)
        };
        let handle = SessionHandle::parse(handle).ok_or_else(unknown)?;
        // A handle that was made up needs no turn to write.
        if !self.db.has_session(current.owner.id, handle).await? {
            return Err(unknown());
        }
        match self.db.remove_session_by_handle(by, handle).await? {
            None => {
                self.forget([by]);
                Err(AuthError::SessionInvalid)
            }
            Some(None) => Err(unknown()),
            Some(Some(ended)) => {
                self.forget([ended.digest]);
                match self.was_live(&ended) {
                    true => Ok(()),
                    false => Err(unknown()),
                }
            }
        }
    }

    /// Ends every session but this one of the user whose session this is, and
    /// returns how many were open. When this returns `Ok` their end is on disk.
    ///
    /// # Errors
    ///
    /// `SessionInvalid`, `Unavailable`, `Internal`.
    pub async fn revoke_other_sessions(&self, session_id: &str) -> Result<usize, AuthError> {
        let (by, _) = self.recognise(session_id).await?;
        let Some(ended) = self.db.remove_other_sessions(by).await? else {
            self.forget([by]);
            return Err(AuthError::SessionInvalid);
        };
        self.forget(ended.iter().map(|ended| ended.digest));
        Ok(ended
            .into_iter()
            .filter(|ended| self.was_live(ended))
            .count())
    }
}
