//! What every request passes on its way in and out.

use std::{
    borrow::Cow,
    error::Error,
    time::{Duration, Instant},
};

use axum::{
    extract::{Request, State},
    http::{HeaderName, HeaderValue, Method, Uri, header},
    middleware::Next,
    response::Response,
};
use tokio::time;
use tonic::{Code, Status};
use uuid::Uuid;

use crate::{
    http,
    peer::Peer,
    rpc::{
        gate::{self, Refusal},
        status,
    },
};

/// The header that names a request which the log has a line on.
pub(super) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Paths whose success changes nothing and is asked for all day: no line on it
/// unless the log is set to debug.
const QUIET: [&str; 6] = [
    "/",
    "/bienvenue.v1.AuthService/GetUserBySession",
    "/grpc.health.v1.Health/Check",
    "/grpc.health.v1.Health/Watch",
    "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
    "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
];

/// The longest path that the log repeats, in bytes.
const MAX_LOGGED_PATH: usize = 128;

/// Lets a request for a gRPC service in, or answers it with plain HTTP.
pub(super) async fn admit(request: Request, next: Next) -> Response {
    match gate::check(&request) {
        Ok(()) => next.run(request).await,
        Err(refusal) => {
            let mut response = http::message(refusal.status(), refusal.message());
            if refusal == Refusal::Method {
                response
                    .headers_mut()
                    .insert(header::ALLOW, HeaderValue::from_static("POST"));
            }
            response
        }
    }
}

/// The answer to a path that nothing is served on: a gRPC status for a gRPC
/// client, 404 for anyone else.
pub(super) async fn unclaimed(request: Request) -> Response {
    if gate::check(&request).is_err() {
        return http::not_found();
    }
    let mut response: Response = status::no_such_method().into_http();
    // gRPC-Web clients expect their own content type back.
    if let Some(asked) = request.headers().get(header::CONTENT_TYPE) {
        response
            .headers_mut()
            .insert(header::CONTENT_TYPE, asked.clone());
    }
    response
}

/// Holds a gRPC request to its time and its connection to its share of work,
/// and gives what tonic refuses the words of our own table.
pub(super) async fn limit(
    State(timeout): State<Duration>,
    request: Request,
    next: Next,
) -> Response {
    let permits = request.extensions().get::<Peer>().map(|peer| &peer.permits);
    let _permit = match permits.cloned().map(|permits| permits.try_acquire_owned()) {
        Some(Err(_)) => return status::connection_full().into_http(),
        permit => permit,
    };
    match time::timeout(timeout, next.run(request)).await {
        Ok(response) => status::complete(response),
        Err(_) => status::too_slow().into_http(),
    }
}

/// Writes the one line on a request that changes something or fails, and names
/// it to its caller.
pub(super) async fn observe(request: Request, next: Next) -> Response {
    let mut record = Record::new(&request);
    let mut response = next.run(request).await;
    record.finish(&mut response);
    response
}

/// What the log line will say. A request whose caller leaves is dropped half
/// way, and has its line all the same.
struct Record {
    method: Method,
    uri: Uri,
    quiet: bool,
    peer: Option<Peer>,
    start: Instant,
    finished: bool,
}

impl Record {
    fn new(request: &Request) -> Self {
        Self {
            method: request.method().clone(),
            uri: request.uri().clone(),
            quiet: QUIET.contains(&request.uri().path()),
            peer: request.extensions().get::<Peer>().cloned(),
            start: Instant::now(),
            finished: false,
        }
    }

    fn finish(&mut self, response: &mut Response) {
        self.finished = true;
        let outcome = Outcome::of(response);
        if self.quiet && !outcome.failed && !tracing::enabled!(tracing::Level::DEBUG) {
            return;
        }
        let request_id = self.log(&outcome);
        if let Ok(value) = HeaderValue::from_str(&request_id.to_string()) {
            response.headers_mut().insert(REQUEST_ID, value);
        }
    }

    fn log(&self, outcome: &Outcome) -> Uuid {
        let request_id = Uuid::new_v4();
        let duration_us = u64::try_from(self.start.elapsed().as_micros()).unwrap_or(u64::MAX);
        let peer = self.peer.as_ref().map(|peer| peer.address.to_string());
        // The macro fixes the level; the rest of the line is the same.
        macro_rules! line {
            ($level:ident) => {
                tracing::$level!(
                    method = %self.name(),
                    code = %outcome.code,
                    reason = outcome.reason,
                    duration_us,
                    peer,
                    %request_id,
                    cause = outcome.cause,
                    "request"
                )
            };
        }
        if outcome.cause.is_some() {
            line!(error);
        } else if self.quiet && !outcome.failed {
            line!(debug);
        } else {
            line!(info);
        }
        request_id
    }

    /// `bienvenue.v1.AuthService/Login`, or `GET /path`; never the query, which
    /// may hold what its sender should not have put there.
    fn name(&self) -> Cow<'_, str> {
        let path = self.uri.path();
        let path = &path[..path.floor_char_boundary(MAX_LOGGED_PATH)];
        match path.strip_prefix('/') {
            Some(name) if self.method == Method::POST && name.contains('.') => name.into(),
            _ => format!("{} {path}", self.method).into(),
        }
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        if !self.finished {
            self.log(&Outcome {
                code: "CANCELLED".into(),
                reason: None,
                cause: None,
                failed: true,
            });
        }
    }
}

/// How a request ended: a gRPC status, or an HTTP one where there is none.
struct Outcome {
    code: Cow<'static, str>,
    reason: Option<String>,
    cause: Option<String>,
    failed: bool,
}

impl Outcome {
    fn of(response: &Response) -> Self {
        match response.extensions().get::<Status>() {
            Some(status) => Self {
                code: code_name(status.code()).into(),
                reason: status::reason(status),
                cause: status.source().map(with_causes),
                failed: status.code() != Code::Ok,
            },
            None if is_grpc(response) => Self {
                code: code_name(Code::Ok).into(),
                reason: None,
                cause: None,
                failed: false,
            },
            None => Self {
                code: response.status().as_u16().to_string().into(),
                reason: None,
                cause: None,
                failed: !response.status().is_success(),
            },
        }
    }
}

fn is_grpc(response: &Response) -> bool {
    response
        .headers()
        .get(header::CONTENT_TYPE)
        .is_some_and(|value| value.as_bytes().starts_with(b"application/grpc"))
}

/// An error and what led to it, on one line.
fn with_causes(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        next = cause.source();
    }
    text.replace(['\n', '\r'], " ")
}

/// The name that gRPC's own documentation gives a code.
fn code_name(code: Code) -> &'static str {
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
