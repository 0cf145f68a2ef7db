//! `POST /reset_password` and `PUT /reset_password`.

use std::sync::Arc;

use axum::{extract::State, http::StatusCode, response::Response};
use serde_json::json;

use super::{HttpState, caller::Caller, forms::Form};
use crate::{
    auth::AuthError,
    domain::Email,
    error_code::ErrorCode,
    http::replies::{self, ErrorReply},
    no_effect::NoEffect,
};

/// Mails a reset token to the user of `email`, with the same reply for every address; or
/// returns the token in the reply.
pub(crate) async fn request(
    State(state): State<Arc<HttpState>>,
    caller: Caller,
    mut form: Form,
) -> Result<Response, ErrorReply> {
    if state.as_original {
        return give_token(&state, &caller, form).await;
    }
    let email = form.take("email");
    state
        .auth
        .request_password_reset(&email, &caller.context())
        .await?;
    let mut response = replies::done(&email, "reset token sent");
    // The delivery of the mail has a log line of its own.
    response.extensions_mut().insert(NoEffect);
    Ok(response)
}

async fn give_token(
    state: &HttpState,
    caller: &Caller,
    mut form: Form,
) -> Result<Response, ErrorReply> {
    form.require(&["email"])?;
    let email = form.take("email");
    let given = state
        .auth
        .get_reset_password_token(&email, &caller.context())
        .await;
    let token = match given {
        // The Flask service accepted any text as an address.
        Err(AuthError::InvalidField { .. }) => None,
        found => found?,
    };
    let token =
        token.ok_or_else(|| ErrorReply::new(ErrorCode::UnknownEmail, "email is not registered"))?;
    Ok(replies::reply(
        StatusCode::OK,
        &json!({ "email": Email::trimmed(&email), "reset_token": token.expose() }),
    ))
}

/// Sets `new_password` for the user of `email` with this `reset_token`.
pub(crate) async fn confirm(
    State(state): State<Arc<HttpState>>,
    caller: Caller,
    mut form: Form,
) -> Result<Response, ErrorReply> {
    let email = form.take("email");
    let reset_token = form.take("reset_token");
    state
        .auth
        .update_password(
            &reset_token,
            form.take("new_password"),
            Some(&email),
            &caller.context(),
        )
        .await?;
    Ok(replies::done(&email, "Password updated"))
}
