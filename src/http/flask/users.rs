//! `POST /users` and `GET /profile`.

use std::sync::Arc;

use axum::{
    extract::State,
    http::{HeaderMap, StatusCode},
    response::Response,
};
use serde_json::json;

use super::{HttpState, caller::Caller, forms::Form, sessions};
use crate::http::replies::{self, ErrorReply};

/// Creates an account for `email` with `password`.
pub(crate) async fn register(
    State(state): State<Arc<HttpState>>,
    caller: Caller,
    mut form: Form,
) -> Result<Response, ErrorReply> {
    let email = form.take("email");
    state
        .auth
        .register_user(&email, form.take("password"), &caller.context())
        .await?;
    Ok(replies::done(&email, "user created"))
}

/// The account of the session cookie.
pub(crate) async fn profile(
    State(state): State<Arc<HttpState>>,
    caller: Caller,
    headers: HeaderMap,
) -> Result<Response, ErrorReply> {
    let checked = sessions::checked(&state, &headers, &caller).await?;
    Ok(replies::reply(
        StatusCode::OK,
        &json!({ "email": checked.owner.email.as_str() }),
    ))
}
