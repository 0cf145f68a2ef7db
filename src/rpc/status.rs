//! The one table from what came of a call to what its caller is told.

use std::{any::Any, error::Error, sync::Arc, time::Duration};

use axum::response::Response;
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt as _};

use crate::auth::AuthError;

/// The `domain` of every `google.rpc.ErrorInfo`.
const DOMAIN: &str = "bienvenue";

/// How long to stay away from a connection that is full.
const RETRY_CONNECTION: Duration = Duration::from_secs(1);

/// What a caller is told; the cause goes along for the log, not for the wire.
impl From<AuthError> for Status {
    fn from(error: AuthError) -> Self {
        let message = error.to_string();
        match error {
            AuthError::InvalidField { field, problem } => {
                let mut details = details("INVALID_FIELD");
                details.add_bad_request_violation(field.to_string(), problem);
                Self::with_error_details(Code::InvalidArgument, message, details)
            }
            AuthError::EmailTaken(_) => plain(Code::AlreadyExists, "EMAIL_TAKEN", message),
            AuthError::InvalidCredentials => {
                plain(Code::Unauthenticated, "INVALID_CREDENTIALS", message)
            }
            AuthError::SessionInvalid => plain(Code::Unauthenticated, "SESSION_INVALID", message),
            AuthError::ResetTokenInvalid => {
                plain(Code::Unauthenticated, "RESET_TOKEN_INVALID", message)
            }
            AuthError::Overloaded { retry_after } => {
                retryable(Code::ResourceExhausted, "OVERLOADED", message, retry_after)
            }
            AuthError::Unavailable { retry_after, cause } => caused(
                retryable(Code::Unavailable, "UNAVAILABLE", message, retry_after),
                cause,
            ),
            AuthError::Internal(cause) => caused(plain(Code::Internal, "INTERNAL", message), cause),
        }
    }
}

/// More requests in progress than one connection may have.
pub fn connection_full() -> Status {
    retryable(
        Code::ResourceExhausted,
        "OVERLOADED",
        "too many requests at once on this connection; wait for some, or open another",
        RETRY_CONNECTION,
    )
}

/// A request took longer than it may.
pub fn too_slow() -> Status {
    plain(
        Code::DeadlineExceeded,
        "DEADLINE_EXCEEDED",
        "the request took longer than the server allows",
    )
}

/// There is no such method, or the message is compressed.
pub fn unimplemented() -> Status {
    plain(
        Code::Unimplemented,
        "UNIMPLEMENTED",
        "there is no such method, or it does not take compressed messages",
    )
}

/// A handler panicked: that call fails, everything else goes on. What it said
/// stays out of the log, for it may quote what it choked on.
pub fn panicked(_said: Box<dyn Any + Send>) -> Response {
    Status::from(AuthError::Internal("a handler panicked".into())).into_http()
}

/// Puts what tonic says on its own account, which has no details, into the
/// table's words. A status that the table made passes unchanged.
pub fn complete(response: Response) -> Response {
    // Success has its status in the trailers.
    if !response.headers().contains_key(Status::GRPC_STATUS)
        || response.headers().contains_key(Status::GRPC_STATUS_DETAILS)
    {
        return response;
    }
    let Some(status) = Status::from_header_map(response.headers()) else {
        return response;
    };
    let completed = match status.code() {
        Code::Ok => return response,
        Code::Unimplemented => unimplemented(),
        // From the health and reflection services, which say it of a name.
        Code::NotFound => plain(Code::NotFound, "NOT_FOUND", status.message()),
        // Whatever failed before a handler ran: the bytes were no request.
        _ => plain(
            Code::InvalidArgument,
            "MALFORMED_REQUEST",
            "the request could not be read: it is not a message of this method, or too large",
        ),
    };
    completed.into_http()
}

/// The reason that a status carries, for the log.
pub fn reason(status: &Status) -> Option<String> {
    status.get_details_error_info().map(|info| info.reason)
}

fn details(reason: &str) -> ErrorDetails {
    ErrorDetails::with_error_info(reason, DOMAIN, [])
}

fn plain(code: Code, reason: &str, message: impl Into<String>) -> Status {
    Status::with_error_details(code, message, details(reason))
}

fn retryable(
    code: Code,
    reason: &str,
    message: impl Into<String>,
    retry_after: Duration,
) -> Status {
    let mut details = details(reason);
    details.set_retry_info(Some(retry_after));
    Status::with_error_details(code, message, details)
}

fn caused(mut status: Status, cause: Box<dyn Error + Send + Sync>) -> Status {
    status.set_source(Arc::from(cause));
    status
}

/// The name that gRPC's own documentation gives a code.
pub fn code_name(code: Code) -> &'static str {
    match code {
        Code::Ok => "OK",
        Code::Cancelled => "CANCELLED",
        Code::Unknown => "UNKNOWN",
        Code::InvalidArgument => "INVALID_ARGUMENT",
        Code::DeadlineExceeded => "DEADLINE_EXCEEDED",
        Code::NotFound => "NOT_FOUND",
        Code::AlreadyExists => "ALREADY_EXISTS",
        Code::PermissionDenied => "PERMISSION_DENIED",
        Code::ResourceExhausted => "RESOURCE_EXHAUSTED",
        Code::FailedPrecondition => "FAILED_PRECONDITION",
        Code::Aborted => "ABORTED",
        Code::OutOfRange => "OUT_OF_RANGE",
        Code::Unimplemented => "UNIMPLEMENTED",
        Code::Internal => "INTERNAL",
        Code::Unavailable => "UNAVAILABLE",
        Code::DataLoss => "DATA_LOSS",
        Code::Unauthenticated => "UNAUTHENTICATED",
    }
}
