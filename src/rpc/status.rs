//! Errors as gRPC statuses, with the codes and reasons of [`ErrorCode`].

use std::{
    any::Any,
    borrow::Cow,
    sync::{Arc, LazyLock},
    time::Duration,
};

use axum::http::Response;
use tonic::{Code, Status, body::Body};
use tonic_types::{ErrorDetails, StatusExt as _};

use crate::{auth::AuthError, error_code::ErrorCode, peer::OverLimit};

/// The `domain` of every `google.rpc.ErrorInfo`.
const DOMAIN: &str = "bienvenue";

/// When to try again to watch.
const RETRY_WATCH: Duration = Duration::from_secs(1);

/// What a caller is told; the cause goes along for the log, not for the wire.
impl From<AuthError> for Status {
    fn from(error: AuthError) -> Self {
        match error {
            AuthError::SessionInvalid => SESSION_INVALID.clone(),
            error => of(error),
        }
    }
}

/// Ids are made up faster than anything else is asked for: this is put into words
/// once.
static SESSION_INVALID: LazyLock<Status> = LazyLock::new(|| of(AuthError::SessionInvalid));

fn of(error: AuthError) -> Status {
    let mut details = details(error.code(), error.retry_after());
    if let AuthError::InvalidField { field, problem } = &error {
        details.add_bad_request_violation(field.to_string(), problem);
    }
    let mut status = with_details(error.code(), error.to_string(), details);
    if let Some(cause) = error.into_cause() {
        status.set_source(Arc::from(cause));
    }
    status
}

/// More requests in progress than one connection may have.
pub fn connection_full() -> Status {
    over_limit(OverLimit::ConnectionFull)
}

/// There is no room for another reply that may be large.
pub(crate) fn replies_unread() -> Status {
    over_limit(OverLimit::RepliesUnread)
}

/// A request took longer than it may.
pub fn too_slow() -> Status {
    over_limit(OverLimit::TooSlow)
}

/// There is no token on a call of the internal listener, or it is another one.
pub(crate) fn admin_token_invalid() -> Status {
    plain(
        ErrorCode::AdminTokenInvalid,
        "send the metadata authorization: Bearer TOKEN, with the token of admin-token-file",
    )
}

/// The log does not go on from the revision that was asked from.
pub(crate) fn revision_swept() -> Status {
    plain(
        ErrorCode::RevisionSwept,
        "the revocations after this revision are not all there any more: drop all that you keep \
         and ask without since_revision",
    )
}

/// There is no such revision.
pub(crate) fn negative_revision() -> Status {
    let mut details = details(ErrorCode::InvalidField, None);
    let problem = "is negative; write a revision that this service gave, or 0";
    details.add_bad_request_violation("since_revision", problem);
    let message = format!("since_revision {problem}");
    with_details(ErrorCode::InvalidField, message, details)
}

/// More watch than may at once.
pub(crate) fn too_many_watchers() -> Status {
    retry_watch(
        ErrorCode::Overloaded,
        "too many watch revocations already; end other streams, or ask another node",
    )
}

/// Who watches does not read.
pub(crate) fn slow_reader() -> Status {
    retry_watch(
        ErrorCode::SlowReader,
        "the stream was not read fast enough: ask again from the last revision that you have had",
    )
}

/// The node cannot go on telling.
pub(crate) fn interrupted() -> Status {
    retry_watch(
        ErrorCode::Unavailable,
        "the log of revocations was interrupted: ask again from the last revision",
    )
}

/// The node is about to stop.
pub(crate) fn stopping() -> Status {
    retry_watch(
        ErrorCode::Unavailable,
        "this node stops: ask another, from the last revision that you have had",
    )
}

fn retry_watch(code: ErrorCode, message: &str) -> Status {
    with_details(code, message, details(code, Some(RETRY_WATCH)))
}

/// The session is missing, in other words than the table's.
pub(crate) fn session_invalid(message: &str) -> Status {
    plain(ErrorCode::SessionInvalid, message)
}

/// The same of a reset token.
pub(crate) fn reset_token_invalid(message: &str) -> Status {
    plain(ErrorCode::ResetTokenInvalid, message)
}

/// There is no such service or method, or the message is compressed.
pub fn unimplemented(message: impl Into<String>) -> Status {
    plain(ErrorCode::Unimplemented, message)
}

/// A handler panicked: that call fails, everything else goes on. What it said
/// stays out of the log, for it may quote what it choked on.
pub fn panicked(_said: Box<dyn Any + Send>) -> Response<Body> {
    Status::from(AuthError::Internal("a handler panicked".into())).into_http()
}

/// Puts what tonic says on its own account, which has no details, into the
/// table's words. A status that the table made passes unchanged.
pub fn complete(response: Response<Body>) -> Response<Body> {
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
        // The generated services say nothing of a method that they do not have.
        Code::Unimplemented if status.message().is_empty() => {
            unimplemented("the service has no such method; names count by their case, too")
        }
        Code::Unimplemented => unimplemented("compressed messages are not taken: send them plain"),
        // From the health and reflection services, which say it of a name.
        Code::NotFound => plain(ErrorCode::NotFound, status.message()),
        // Whatever failed before a handler ran: the bytes were no request.
        _ => plain(
            ErrorCode::MalformedRequest,
            "the request could not be read: it is not a message of this method, or too large",
        ),
    };
    completed.into_http()
}

/// The reason that a status carries, for the log.
pub fn reason(status: &Status) -> Option<Cow<'static, str>> {
    if status.details() == SESSION_INVALID.details() {
        return Some(ErrorCode::SessionInvalid.reason().into());
    }
    let info = status.get_details_error_info();
    info.map(|info| info.reason.into())
}

fn plain(code: ErrorCode, message: impl Into<String>) -> Status {
    with_details(code, message, details(code, None))
}

fn over_limit(limit: OverLimit) -> Status {
    let details = details(limit.code(), limit.retry_after());
    with_details(limit.code(), limit.to_string(), details)
}

fn with_details(code: ErrorCode, message: impl Into<String>, details: ErrorDetails) -> Status {
    Status::with_error_details(Code::from_i32(code.grpc()), message, details)
}

fn details(code: ErrorCode, retry_after: Option<Duration>) -> ErrorDetails {
    let mut details = ErrorDetails::with_error_info(code.reason(), DOMAIN, []);
    if retry_after.is_some() {
        details.set_retry_info(retry_after);
    }
    details
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
