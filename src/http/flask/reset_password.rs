//! `POST /reset_password` and `PUT /reset_password`.

use std::sync::Arc;

use axum::{Extension, extract::State, http::StatusCode, response::Response};
use serde_json::json;

use super::{Site, forms::Form, replies, replies::Refusal};
use crate::{
    auth::AuthError, deadline::Deadline, domain::Email, effect::NoEffect, error_code::ErrorCode,
};

/// Gives the user of `email` a reset token: by mail, and then whoever asks
/// gets the same reply for every address; or in the reply.
pub(crate) async fn request(
    State(site): State<Arc<Site>>,
    mut form: Form,
) -> Result<Response, Refusal> {
    if site.as_original {
        return give_token(&site, form).await;
    }
    let email = form.take("email");
    site.auth.request_password_reset(&email).await?;
    let mut response = replies::done(&email, "reset token sent");
    // A mail that is sent has a line of its own.
    response.extensions_mut().insert(NoEffect);
    Ok(response)
}

async fn give_token(site: &Site, mut form: Form) -> Result<Response, Refusal> {
    form.require(&["email"])?;
    let email = form.take("email");
    let token = match site.auth.get_reset_password_token(&email).await {
        // The Flask service took every text for an address.
        Err(AuthError::InvalidField { .. }) => None,
        found => found?,
    };
    let token =
        token.ok_or_else(|| Refusal::new(ErrorCode::UnknownEmail, "email is not registered"))?;
    Ok(replies::reply(
        StatusCode::OK,
        &json!({ "email": Email::trimmed(&email), "reset_token": token.expose() }),
    ))
}

/// Sets `new_password` for the user of `email`, to whom `reset_token` was
/// given.
pub(crate) async fn confirm(
    State(site): State<Arc<Site>>,
    deadline: Option<Extension<Deadline>>,
    mut form: Form,
) -> Result<Response, Refusal> {
    let deadline = super::deadline(deadline)?;
    let email = form.take("email");
    let reset_token = form.take("reset_token");
    site.auth
        .update_password(
            &reset_token,
            form.take("new_password"),
            Some(&email),
            deadline,
        )
        .await?;
    Ok(replies::done(&email, "Password updated"))
}
