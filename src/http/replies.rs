//! Replies in JSON, formatted as the Flask service's were, and errors with the statuses of
//! [`ErrorCode`].

use std::{any::Any, borrow::Cow, error::Error, sync::Arc, time::Duration};

use axum::{
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde_json::{Value, json};

use crate::{auth::AuthError, domain::Email, error_code::ErrorCode, peer::OverLimit};

/// Why a request failed, for the log; an extension of the response.
#[derive(Clone, Debug)]
pub struct Failure {
    /// The reason, as gRPC callers get it.
    pub reason: &'static str,
    /// The cause, unless the caller caused the error.
    pub cause: Option<Arc<dyn Error + Send + Sync>>,
}

/// An error as a reply.
#[derive(Debug)]
pub(crate) struct ErrorReply {
    status: StatusCode,
    message: Cow<'static, str>,
    retry_after: Option<Duration>,
    failure: Failure,
}

impl ErrorReply {
    pub(crate) fn new(code: ErrorCode, message: impl Into<Cow<'static, str>>) -> Self {
        Self {
            status: StatusCode::from_u16(code.http()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR),
            message: message.into(),
            retry_after: None,
            failure: Failure {
                reason: code.reason(),
                cause: None,
            },
        }
    }

    /// Replaces the status of the table by a more specific one.
    pub(crate) fn with_status(self, status: StatusCode) -> Self {
        Self { status, ..self }
    }
}

impl From<OverLimit> for ErrorReply {
    fn from(limit: OverLimit) -> Self {
        Self {
            retry_after: limit.retry_after(),
            ..Self::new(limit.code(), limit.to_string())
        }
    }
}

impl From<AuthError> for ErrorReply {
    fn from(error: AuthError) -> Self {
        let message = match &error {
            // The text of the Flask service.
            AuthError::EmailTaken(_) => "email already registered".into(),
            other => other.to_string(),
        };
        let mut refusal = Self::new(error.code(), message);
        refusal.retry_after = error.retry_after();
        refusal.failure.cause = error.into_cause().map(Arc::from);
        refusal
    }
}

impl IntoResponse for ErrorReply {
    fn into_response(self) -> Response {
        let mut response = reply(self.status, &json!({ "message": self.message }));
        if let Some(retry_after) = self.retry_after {
            // Whole seconds (RFC 9110, 10.2.3), rounded up.
            let seconds = retry_after.as_millis().div_ceil(1_000).max(1);
            if let Ok(seconds) = HeaderValue::from_str(&seconds.to_string()) {
                response.headers_mut().insert(header::RETRY_AFTER, seconds);
            }
        }
        response.extensions_mut().insert(self.failure);
        response
    }
}

/// A reply of success, which repeats the e-mail of the request without white space around
/// it.
pub(crate) fn done(email: &str, message: &str) -> Response {
    let email = Email::trimmed(email);
    reply(
        StatusCode::OK,
        &json!({ "email": email, "message": message }),
    )
}

/// A reply with a message alone.
pub fn message(status: StatusCode, message: &str) -> Response {
    reply(status, &json!({ "message": message }))
}

/// A reply in JSON.
pub(crate) fn reply(status: StatusCode, body: &Value) -> Response {
    let headers = [
        (header::CONTENT_TYPE, "application/json"),
        (header::CACHE_CONTROL, "no-store"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ];
    (status, headers, format_json(body)).into_response()
}

/// Formats a value as Flask's `jsonify` does: in ASCII, with a line feed at the end.
fn format_json(body: &Value) -> String {
    let mut line = String::new();
    for character in body.to_string().chars() {
        if character.is_ascii() {
            line.push(character);
        } else {
            for unit in character.encode_utf16(&mut [0; 2]) {
                line.push_str(&format!("\\u{unit:04x}"));
            }
        }
    }
    line.push('\n');
    line
}

/// The reply on an unknown path.
pub fn not_found() -> Response {
    message(StatusCode::NOT_FOUND, "there is nothing here")
}

/// The reply to invalid HTTP.
pub fn malformed(message: &'static str) -> Response {
    ErrorReply::new(ErrorCode::MalformedRequest, message).into_response()
}

/// The connection has too many requests in progress.
pub fn connection_full() -> Response {
    ErrorReply::from(OverLimit::ConnectionFull).into_response()
}

/// The request took longer than the server allows.
pub fn too_slow() -> Response {
    ErrorReply::from(OverLimit::TooSlow).into_response()
}

/// A handler panicked. Only its request fails. The panic message stays out of the log,
/// since it may quote secrets.
pub fn panicked(_payload: Box<dyn Any + Send>) -> Response {
    ErrorReply::from(AuthError::Internal("a handler panicked".into())).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retry_after_is_rounded_up() {
        for (retry_after, seconds) in [(0, "1"), (1, "1"), (1_000, "1"), (1_001, "2")] {
            let response = ErrorReply::from(AuthError::Overloaded {
                retry_after: Duration::from_millis(retry_after),
            })
            .into_response();
            assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
            assert_eq!(response.headers()[header::RETRY_AFTER], seconds);
        }
    }

    #[test]
    fn json_is_formatted_as_by_flask() {
        let body = json!({ "email": "b\u{FC}cher\u{1F600}\"\\\n", "a": 1 });
        let spelling = r#"{"a":1,"email":"b\u00fccher\ud83d\ude00\"\\\n"}"#;
        assert_eq!(format_json(&body), format!("{spelling}\n"));
        assert_eq!(serde_json::from_str::<Value>(spelling).unwrap(), body);
    }

    #[test]
    fn a_cause_is_only_logged() {
        let cause: Box<dyn Error + Send + Sync> = "canary".into();
        let refusal = ErrorReply::from(AuthError::Internal(cause));
        assert!(!refusal.message.contains("canary"), "{}", refusal.message);
        let response = refusal.into_response();
        let failure: &Failure = response.extensions().get().unwrap();
        assert_eq!(failure.reason, "INTERNAL");
        assert_eq!(failure.cause.as_ref().unwrap().to_string(), "canary");
        let response = panicked(Box::new("canary"));
        assert_eq!(response.status(), StatusCode::INTERNAL_SERVER_ERROR);
        let failure: &Failure = response.extensions().get().unwrap();
        assert!(!format!("{failure:?}").contains("canary"));
    }
}
