//! `POST /users` and `GET /profile`.

use std::sync::Arc;

use axum::{
    extract::State,
    http::{HeaderMap, StatusCode},
    response::Response,
};
use serde_json::json;

use super::{Site, forms::Form, replies, replies::Refusal};

/// Creates an account for `email` with `password`.
pub(super) async fn register(
    State(site): State<Arc<Site>>,
    mut form: Form,
) -> Result<Response, Refusal> {
    let email = form.take("email");
    site.auth
        .register_user(&email, form.take("password"))
        .await?;
    Ok(replies::done(&email, "user created"))
}

/// Whose session the cookie proves.
pub(super) async fn profile(
    State(site): State<Arc<Site>>,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    let session_id = site.cookie.read(&headers).unwrap_or_default();
    let (user, _) = site.auth.get_user_from_session_id(session_id).await?;
    Ok(replies::reply(
        StatusCode::OK,
        &json!({ "email": user.email.as_str() }),
    ))
}
