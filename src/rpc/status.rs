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

/// The delay suggested to watchers.
const RETRY_WATCH: Duration = Duration::from_secs(1);

/// The status for the caller. The cause goes along for the log, not for the wire.
impl From<AuthError> for Status {
    fn from(error: AuthError) -> Self {
        match error {
            AuthError::SessionInvalid => SESSION_INVALID.clone(),
            error => of(error),
        }
    }
}

/// Built once, since invented ids are cheaper to send than any other request.
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

/// The connection has too many requests in progress.
pub fn connection_full() -> Status {
    over_limit(OverLimit::ConnectionFull)
}

/// There is no memory for another large reply.
pub(crate) fn replies_unread() -> Status {
    over_limit(OverLimit::RepliesUnread)
}

/// The request took longer than the server allows.
pub fn too_slow() -> Status {
    over_limit(OverLimit::TooSlow)
}

/// The token of the internal listener is missing or wrong.
pub(crate) fn admin_token_invalid() -> Status {
    plain(
        ErrorCode::AdminTokenInvalid,
        "send the metadata authorization: Bearer TOKEN, with the token of admin-token-file",
    )
}

/// The log does not continue from the requested revision.
pub(crate) fn revision_swept() -> Status {
    plain(
        ErrorCode::RevisionSwept,
        "the log no longer has all revocations after this revision: drop all cached replies and \
         open a stream without since_revision",
    )
}

/// The requested revision is negative.
pub(crate) fn negative_revision() -> Status {
    let mut details = details(ErrorCode::InvalidField, None);
    let problem = "is negative; send a revision that this service returned, or 0";
    details.add_bad_request_violation("since_revision", problem);
    let message = format!("since_revision {problem}");
    with_details(ErrorCode::InvalidField, message, details)
}

/// There are too many streams already.
pub(crate) fn too_many_watchers() -> Status {
    retry_watch(
        ErrorCode::Overloaded,
        "too many streams are open; close some, or call another node",
    )
}

/// The reader of a stream is too slow.
pub(crate) fn slow_reader() -> Status {
    retry_watch(
        ErrorCode::SlowReader,
        "the stream was not read fast enough: open a new one from the last received revision",
    )
}

/// The node cannot continue the stream.
pub(crate) fn interrupted() -> Status {
    retry_watch(
        ErrorCode::Unavailable,
        "the log of revocations was interrupted: open a new stream from the last received revision",
    )
}

/// The node is about to stop.
pub(crate) fn stopping() -> Status {
    retry_watch(
        ErrorCode::Unavailable,
        "this node stops: open a stream on another, from the last received revision",
    )
}

fn retry_watch(code: ErrorCode, message: &str) -> Status {
    with_details(code, message, details(code, Some(RETRY_WATCH)))
}

/// `SESSION_INVALID` with a more specific message.
pub(crate) fn session_invalid(message: &str) -> Status {
    plain(ErrorCode::SessionInvalid, message)
}

/// `RESET_TOKEN_INVALID` with a more specific message.
pub(crate) fn reset_token_invalid(message: &str) -> Status {
    plain(ErrorCode::ResetTokenInvalid, message)
}

/// The service or method does not exist, or the message is compressed.
pub fn unimplemented(message: impl Into<String>) -> Status {
    plain(ErrorCode::Unimplemented, message)
}

/// A handler panicked. Only its call fails. The panic message stays out of the log, since
/// it may quote secrets.
pub fn panicked(_payload: Box<dyn Any + Send>) -> Response<Body> {
    Status::from(AuthError::Internal("a handler panicked".into())).into_http()
}

/// Gives a status made by tonic, which has no details, the code and text of this module.
/// Other statuses pass unchanged.
pub fn complete(response: Response<Body>) -> Response<Body> {
    // The status of a success is in the trailers.
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
        // The generated services have no text for unknown methods.
        Code::Unimplemented if status.message().is_empty() => {
            unimplemented("the service has no such method; method names are case-sensitive")
        }
        Code::Unimplemented => {
            unimplemented("compressed messages are not supported: send them uncompressed")
        }
        // The health and reflection services answer so for unknown names.
        Code::NotFound => plain(ErrorCode::NotFound, status.message()),
        // Everything else failed before a handler ran: the bytes are not a request.
        _ => plain(
            ErrorCode::MalformedRequest,
            "the request could not be read: it is not a message of this method, or too large",
        ),
    };
    completed.into_http()
}

/// The reason in a status, for the log.
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

/// The name of a code in the gRPC documentation.
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
