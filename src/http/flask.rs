//! What is served to plain HTTP clients, as thin as the RPCs: the routes of the
//! Flask service that Bienvenue replaces. Bodies are urlencoded forms, replies
//! are JSON, a session is proved by a cookie. For people there is one page, on
//! which they set a new password.

mod cookie;
mod forms;
mod origin;
mod original;
mod replies;
mod reset_password;
mod sessions;
mod users;

use std::{sync::Arc, time::Duration};

use axum::{
    Extension, Router,
    http::{HeaderValue, StatusCode},
    middleware,
    response::Response,
    routing::{get, post},
};

use self::cookie::SessionCookie;
pub use self::original::as_original;
pub use self::replies::{
    Failure, connection_full, malformed, message, not_found, panicked, too_slow,
};
use super::account::reset_page;
use crate::{
    auth::{Auth, AuthError},
    deadline::Deadline,
    domain::PublicUrl,
};

/// What an operator decides about plain HTTP.
#[derive(Clone, Debug)]
pub struct HttpSettings {
    /// What browsers know the service by: cookies, cross-site checks and redirects go by
    /// it.
    pub public_url: PublicUrl,
    /// The longest that a session lives, and so its cookie.
    pub session_absolute: Duration,
    /// Whether everything is answered as the Flask service answered it: reset tokens are in
    /// the reply, and [`as_original`] is a layer around all routes.
    pub as_original: bool,
    /// The largest form that is read, in bytes.
    pub max_form_size: usize,
}

/// What the handlers share.
pub(super) struct Site {
    auth: Auth,
    cookie: SessionCookie,
    origin: String,
    /// What a redirect leads back to.
    home: HeaderValue,
    as_original: bool,
    max_form_size: usize,
    pub(super) reset_page_policy: HeaderValue,
}

/// The routes.
pub fn routes(auth: Auth, settings: &HttpSettings) -> Router {
    let site = Arc::new(Site {
        auth,
        cookie: SessionCookie::new(&settings.public_url, settings.session_absolute),
        origin: settings.public_url.origin(),
        home: HeaderValue::try_from(settings.public_url.home()).expect("a URL in ASCII"),
        as_original: settings.as_original,
        max_form_size: settings.max_form_size,
        reset_page_policy: reset_page::policy(),
    });
    Router::new()
        .route("/", get(welcome))
        .route("/users", post(users::register))
        .route(
            "/sessions",
            post(sessions::log_in).delete(sessions::log_out),
        )
        .route("/profile", get(users::profile))
        .route(
            "/reset_password",
            get(reset_page::show)
                .post(reset_password::request)
                .put(reset_password::confirm),
        )
        .method_not_allowed_fallback(method_not_allowed)
        .route_layer(middleware::from_fn_with_state(
            Arc::clone(&site),
            origin::admit,
        ))
        .with_state(site)
}

async fn welcome() -> Response {
    message(StatusCode::OK, "Bienvenue")
}

/// axum adds the header.
async fn method_not_allowed() -> Response {
    message(
        StatusCode::METHOD_NOT_ALLOWED,
        "this path does not answer to that method; the header Allow names those that it does",
    )
}

/// When whoever is asking stops waiting; what every request passes has noted it.
fn deadline(noted: Option<Extension<Deadline>>) -> Result<Deadline, AuthError> {
    let Extension(deadline) =
        noted.ok_or_else(|| AuthError::Internal("the request has no deadline".into()))?;
    Ok(deadline)
}
