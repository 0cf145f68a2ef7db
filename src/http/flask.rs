//! The routes of the Flask service that Bienvenue replaces, and the page on which users set
//! a new password. Requests are urlencoded forms, replies are JSON, and a cookie holds the
//! session.

mod caller;
mod cookie;
mod forms;
mod origin;
mod original;
mod reset_password;
mod sessions;
mod users;

use std::{sync::Arc, time::Duration};

use axum::{
    Router,
    http::{HeaderValue, StatusCode},
    middleware,
    response::Response,
    routing::{get, post},
};

use self::cookie::SessionCookie;
pub use self::original::as_original;
use super::{account::reset_page, replies::message};
use crate::{auth::Auth, domain::PublicUrl};

/// The settings of plain HTTP.
#[derive(Clone, Debug)]
pub struct HttpSettings {
    /// The address in browsers. Cookies, cross-site checks and redirects depend on it.
    pub public_url: PublicUrl,
    /// The absolute limit of sessions, which is also the age of their cookie.
    pub session_absolute: Duration,
    /// Whether every reply matches the Flask service's: reset tokens are in the reply, and
    /// [`as_original`] is a layer around all routes.
    pub as_original: bool,
    /// The size of the largest accepted form, in bytes.
    pub max_form_size: usize,
}

/// The state shared by the handlers.
struct HttpState {
    auth: Auth,
    cookie: SessionCookie,
    origin: String,
    /// The target of redirects.
    home: HeaderValue,
    as_original: bool,
    max_form_size: usize,
}

/// The routes.
pub fn routes(auth: Auth, settings: &HttpSettings) -> Router {
    let state = Arc::new(HttpState {
        auth,
        cookie: SessionCookie::new(&settings.public_url, settings.session_absolute),
        origin: settings.public_url.origin(),
        home: HeaderValue::try_from(settings.public_url.home()).expect("a URL in ASCII"),
        as_original: settings.as_original,
        max_form_size: settings.max_form_size,
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
            Arc::clone(&state),
            origin::admit,
        ))
        .with_state(state)
}

async fn welcome() -> Response {
    message(StatusCode::OK, "Bienvenue")
}

/// The header `Allow` is added by axum.
async fn method_not_allowed() -> Response {
    message(
        StatusCode::METHOD_NOT_ALLOWED,
        "this path does not allow the method; the header Allow lists the allowed ones",
    )
}
