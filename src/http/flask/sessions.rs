//! `POST /sessions` and `DELETE /sessions`, and whose session a cookie proves.
//!
//! A request may present several `session_id`s, since over plain http a sibling host can
//! plant a cookie of the same name. So a session of the one user counts, whatever else is
//! there; sessions of two users count for neither, since nothing tells which of them the
//! browser's owner opened. A login and a logout end all of them: then the planted one is
//! worthless, and a login is enough to be in again.

use std::sync::Arc;

use axum::{
    Extension,
    extract::State,
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::Response,
};

use super::{Site, forms::Form, replies, replies::Refusal};
use crate::{
    auth::{AuthError, CheckedSession, Credentials, LoggedIn},
    deadline::Deadline,
    domain::Client,
    peer::Peer,
};

/// Checks `email` and `password`, and hands the cookie over. The sessions that
/// the request came with end.
pub(crate) async fn log_in(
    State(site): State<Arc<Site>>,
    peer: Option<Extension<Peer>>,
    deadline: Option<Extension<Deadline>>,
    headers: HeaderMap,
    mut form: Form,
) -> Result<Response, Refusal> {
    let client = client(peer, &headers)?;
    let deadline = super::deadline(deadline)?;
    if site.as_original {
        form.require(&["email", "password"])?;
    }
    let email = form.take("email");
    let presented = site.cookie.read(&headers);
    let credentials = Credentials {
        email: &email,
        password: form.take("password"),
        replaces: presented.first().copied(),
    };
    let logged_in = site.auth.log_in(credentials, client, deadline).await;
    let LoggedIn::Session { opened, .. } = logged_in.map_err(|error| match error {
        // An invalid e-mail has no account, like an unknown one.
        AuthError::InvalidField { .. } => AuthError::InvalidCredentials,
        error => error,
    })?;
    end_all(&site, presented.get(1..).unwrap_or_default()).await?;
    let mut response = replies::done(&email, "logged in");
    response
        .headers_mut()
        .insert(header::SET_COOKIE, site.cookie.set(&opened.token));
    Ok(response)
}

/// Ends every session that a cookie proves.
pub(crate) async fn log_out(
    State(site): State<Arc<Site>>,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    if !end_all(&site, &site.cookie.read(&headers)).await? {
        return Err(AuthError::SessionInvalid.into());
    }
    let mut response = replies::message(StatusCode::FOUND, "logged out");
    response
        .headers_mut()
        .insert(header::LOCATION, site.home.clone());
    response
        .headers_mut()
        .insert(header::SET_COOKIE, site.cookie.clear());
    Ok(response)
}

/// The session that the cookies of a request prove.
///
/// # Errors
///
/// `SessionInvalid` when they prove none, or sessions of more than one user;
/// `Unavailable`, `Internal`.
pub(crate) async fn checked(site: &Site, headers: &HeaderMap) -> Result<CheckedSession, AuthError> {
    let mut found: Option<CheckedSession> = None;
    for session_id in site.cookie.read(headers) {
        match (site.auth.get_user_from_session_id(session_id).await, &found) {
            (Ok(checked), None) => found = Some(checked),
            (Ok(checked), Some(before)) if checked.owner.id == before.owner.id => {}
            (Ok(_), Some(_)) => return Err(AuthError::SessionInvalid),
            (Err(AuthError::SessionInvalid), _) => {}
            (Err(error), _) => return Err(error),
        }
    }
    found.ok_or(AuthError::SessionInvalid)
}

/// Ends these sessions; whether one of them was good.
async fn end_all(site: &Site, session_ids: &[&str]) -> Result<bool, AuthError> {
    let mut any = false;
    for session_id in session_ids {
        match site.auth.destroy_session(session_id).await {
            Ok(()) => any = true,
            Err(AuthError::SessionInvalid) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(any)
}

/// Who is asking, as far as the request and its connection tell.
fn client(peer: Option<Extension<Peer>>, headers: &HeaderMap) -> Result<Client, AuthError> {
    let peer = peer.ok_or_else(|| AuthError::Internal("the request has no peer".into()))?;
    let user_agent = headers.get(header::USER_AGENT);
    Ok(peer.client(user_agent.map(HeaderValue::as_bytes)))
}
