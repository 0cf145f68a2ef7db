//! `POST /sessions` and `DELETE /sessions`, and the session of a cookie.
//!
//! A request may present several `session_id`s, since over plain http a sibling host can
//! plant a cookie of the same name. If all valid ones belong to one user, that user is
//! logged in. If they belong to several, the request counts as not logged in, since it does
//! not tell whose browser it is. Login and logout end all of them, so that a planted
//! session is worthless afterwards.

use std::sync::Arc;

use axum::{
    extract::State,
    http::{HeaderMap, StatusCode, header},
    response::Response,
};

use super::{HttpState, caller::Caller, forms::Form};
use crate::{
    auth::{AuthError, CheckedSession, Credentials, LoggedIn},
    http::replies::{self, ErrorReply},
};

/// Checks `email` and `password`, and sets the cookie. The sessions presented with the
/// request end.
pub(crate) async fn log_in(
    State(state): State<Arc<HttpState>>,
    caller: Caller,
    headers: HeaderMap,
    mut form: Form,
) -> Result<Response, ErrorReply> {
    if state.as_original {
        form.require(&["email", "password"])?;
    }
    let email = form.take("email");
    let presented = state.cookie.read(&headers);
    let credentials = Credentials {
        email: &email,
        password: form.take("password"),
        replaces: presented.first().copied(),
    };
    let logged_in = state.auth.log_in(credentials, &caller.context()).await;
    let LoggedIn::Session { opened, .. } = logged_in.map_err(|error| match error {
        // An invalid e-mail has no account, like an unknown one.
        AuthError::InvalidField { .. } => AuthError::InvalidCredentials,
        error => error,
    })?;
    end_all(&state, presented.get(1..).unwrap_or_default(), &caller).await?;
    let mut response = replies::done(&email, "logged in");
    response
        .headers_mut()
        .insert(header::SET_COOKIE, state.cookie.set(&opened.token));
    Ok(response)
}

/// Ends every session of the request's cookies.
pub(crate) async fn log_out(
    State(state): State<Arc<HttpState>>,
    caller: Caller,
    headers: HeaderMap,
) -> Result<Response, ErrorReply> {
    if !end_all(&state, &state.cookie.read(&headers), &caller).await? {
        return Err(AuthError::SessionInvalid.into());
    }
    let mut response = replies::message(StatusCode::FOUND, "logged out");
    response
        .headers_mut()
        .insert(header::LOCATION, state.home.clone());
    response
        .headers_mut()
        .insert(header::SET_COOKIE, state.cookie.clear());
    Ok(response)
}

/// The session of the request's cookies.
///
/// # Errors
///
/// `SessionInvalid` without a valid session or with those of several users; `Unavailable`,
/// `Internal`.
pub(crate) async fn checked(
    state: &HttpState,
    headers: &HeaderMap,
    caller: &Caller,
) -> Result<CheckedSession, AuthError> {
    let mut found: Option<CheckedSession> = None;
    for session_id in state.cookie.read(headers) {
        let checked = state
            .auth
            .get_user_from_session_id(session_id, &caller.context())
            .await;
        match (checked, &found) {
            (Ok(checked), None) => found = Some(checked),
            (Ok(checked), Some(before)) if checked.owner.id == before.owner.id => {}
            (Ok(_), Some(_)) => return Err(AuthError::SessionInvalid),
            (Err(AuthError::SessionInvalid), _) => {}
            (Err(error), _) => return Err(error),
        }
    }
    found.ok_or(AuthError::SessionInvalid)
}

/// Ends these sessions; `true` if one of them was open.
async fn end_all(
    state: &HttpState,
    session_ids: &[&str],
    caller: &Caller,
) -> Result<bool, AuthError> {
    let mut any = false;
    for session_id in session_ids {
        match state
            .auth
            .destroy_session(session_id, &caller.context())
            .await
        {
            Ok(()) => any = true,
            Err(AuthError::SessionInvalid) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(any)
}
