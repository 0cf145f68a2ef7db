//! `POST /users` and `GET /profile`.

use std::sync::Arc;

use axum::{
    Extension,
    extract::State,
    http::{HeaderMap, StatusCode},
    response::Response,
};
use serde_json::json;

use super::{Site, forms::Form, replies, replies::Refusal, sessions};
use crate::deadline::Deadline;

/// Creates an account for `email` with `password`.
pub(crate) async fn register(
    State(site): State<Arc<Site>>,
    deadline: Option<Extension<Deadline>>,
    mut form: Form,
) -> Result<Response, Refusal> {
    let deadline = super::deadline(deadline)?;
    let email = form.take("email");
    site.auth
        .register_user(&email, form.take("password"), deadline)
        .await?;
    Ok(replies::done(&email, "user created"))
}

/// Whose session the cookies prove.
pub(crate) async fn profile(
    State(site): State<Arc<Site>>,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    let checked = sessions::checked(&site, &headers).await?;
    Ok(replies::reply(
        StatusCode::OK,
        &json!({ "email": checked.owner.email.as_str() }),
    ))
}
