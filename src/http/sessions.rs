//! `POST /sessions` and `DELETE /sessions`.

use std::sync::Arc;

use axum::{
    Extension,
    extract::State,
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::Response,
};

use super::{Site, forms::Form, replies, replies::Refusal};
use crate::{auth::AuthError, deadline::Deadline, domain::Client, peer::Peer};

/// Checks `email` and `password`, and hands the cookie over. A session that
/// the request came with is replaced.
pub(super) async fn log_in(
    State(site): State<Arc<Site>>,
    peer: Option<Extension<Peer>>,
    deadline: Option<Extension<Deadline>>,
    headers: HeaderMap,
    mut form: Form,
) -> Result<Response, Refusal> {
    let client = client(peer, &headers)?;
    let deadline = super::deadline(deadline)?;
    let email = form.take("email");
    let valid = site
        .auth
        .valid_login(&email, form.take("password"), deadline)
        .await;
    let user = valid.map_err(|error| match error {
        // What cannot be anybody's is wrong like anything else.
        AuthError::InvalidField { .. } => AuthError::InvalidCredentials,
        error => error,
    })?;
    let presented = site.cookie.read(&headers);
    let opened = site.auth.create_session(&user, client, presented).await?;
    let mut response = replies::done(&email, "logged in");
    response
        .headers_mut()
        .insert(header::SET_COOKIE, site.cookie.set(&opened.token));
    Ok(response)
}

/// Ends the session that the cookie proves.
pub(super) async fn log_out(
    State(site): State<Arc<Site>>,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    let session_id = site.cookie.read(&headers).unwrap_or_default();
    site.auth.destroy_session(session_id).await?;
    let mut response = replies::message(StatusCode::FOUND, "logged out");
    response
        .headers_mut()
        .insert(header::LOCATION, HeaderValue::from_static("/"));
    response
        .headers_mut()
        .insert(header::SET_COOKIE, site.cookie.clear());
    Ok(response)
}

/// Who is asking, as far as the request and its connection tell.
fn client(peer: Option<Extension<Peer>>, headers: &HeaderMap) -> Result<Client, AuthError> {
    let peer = peer.ok_or_else(|| AuthError::Internal("the request has no peer".into()))?;
    let user_agent = headers.get(header::USER_AGENT);
    Ok(peer.client(user_agent.map(HeaderValue::as_bytes)))
}
