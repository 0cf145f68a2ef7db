//! The one line on a request that changes something or fails.

pub(crate) mod log_quota;

use std::{
    borrow::Cow,
    convert::Infallible,
    error::Error,
    net::{IpAddr, SocketAddr},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Instant,
};

use axum::http::{HeaderName, HeaderValue, Method, Request, Response, StatusCode, Uri, header};
use tonic::{Code, Status};
use tracing::Level;
use uuid::Uuid;

use self::log_quota::{LogQuotas, Reason};
use crate::{
    config::{EXPENDABLE_LINE, REQUEST_LINE},
    domain::Network,
    effect::NoEffect,
    error_chain::with_causes,
    http::flask::Failure,
    peer::Peer,
    rpc::{methods, status},
};

/// The id that the log line on this request has too.
pub(crate) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// The longest path that the log repeats, in bytes.
const MAX_LOGGED_PATH: usize = 128;

/// What the log line will say. A request whose caller leaves is dropped half
/// way, and has its line all the same.
pub(crate) struct Record {
    method: Method,
    path: Path,
    /// The peer, and the client it speaks for.
    addresses: Option<(SocketAddr, IpAddr)>,
    start: Instant,
    quotas: Arc<LogQuotas>,
    finished: bool,
}

impl Record {
    pub(crate) fn new<B>(request: &Request<B>, quotas: &Arc<LogQuotas>) -> Self {
        let peer = request.extensions().get::<Peer>();
        Self {
            method: request.method().clone(),
            path: Path::of(request.uri()),
            addresses: peer.map(|peer| (peer.address(), peer.client_ip())),
            start: Instant::now(),
            quotas: Arc::clone(quotas),
            finished: false,
        }
    }

    /// Has the line written when the answer is there.
    pub(crate) fn observe<F>(self, answer: F) -> Observed<F> {
        Observed {
            answer,
            record: self,
        }
    }

    /// Writes the line, and names the request to its caller where there is one.
    fn finish<B>(&mut self, response: &mut Response<B>) {
        self.finished = true;
        let outcome = Outcome::of(response);
        if !self.has_line(&outcome) {
            return;
        }
        let request_id = Uuid::new_v4();
        self.log(&outcome, request_id);
        if let Ok(value) = HeaderValue::from_str(&request_id.to_string()) {
            response.headers_mut().insert(REQUEST_ID, value);
        }
    }

    /// Whether there is to be a line: on every change, and on so many in a second of what
    /// a sender can cause without end.
    fn has_line(&self, outcome: &Outcome) -> bool {
        if tracing::enabled!(Level::DEBUG) {
            return true;
        }
        let reason = match outcome.effect {
            Effect::None | Effect::Change if self.is_quiet() => return false,
            Effect::Change => return true,
            Effect::None => Reason::Free,
            Effect::Failed(reason) => reason,
        };
        let client = self.addresses.map(|(_, client)| Network::of(client));
        self.quotas.take(reason, client)
    }

    fn is_quiet(&self) -> bool {
        self.method.is_safe() || matches!(self.path, Path::Quiet(_))
    }

    fn log(&self, outcome: &Outcome, request_id: Uuid) {
        // A macro fixes the level of an event; the rest of the line is the same.
        macro_rules! line {
            ($name:expr, $level:expr) => {
                tracing::event!(
                    name: $name,
                    $level,
                    method = %self.name(),
                    code = %outcome.code,
                    reason = outcome.reason.as_deref(),
                    duration_us = u64::try_from(self.start.elapsed().as_micros()).unwrap_or(u64::MAX),
                    peer = self.addresses.map(|(peer, _)| peer.to_string()),
                    client = self.client(),
                    %request_id,
                    cause = outcome.cause,
                    "request"
                )
            };
        }
        match outcome.effect {
            Effect::Failed(Reason::Unavailable | Reason::Internal) => {
                line!(REQUEST_LINE, Level::ERROR);
            }
            Effect::Failed(Reason::Free) => line!(EXPENDABLE_LINE, Level::INFO),
            Effect::Change | Effect::None if self.is_quiet() => {
                line!(EXPENDABLE_LINE, Level::DEBUG);
            }
            Effect::None => line!(EXPENDABLE_LINE, Level::INFO),
            Effect::Change => line!(REQUEST_LINE, Level::INFO),
        }
    }

    /// Whom the peer speaks for, where it is a trusted proxy.
    fn client(&self) -> Option<String> {
        let (peer, client) = self.addresses?;
        let is_other = client != peer.ip().to_canonical();
        is_other.then(|| client.to_string())
    }

    /// `bienvenue.v1.AuthService/Login`, or `GET /path`; never the query, which
    /// may hold what its sender should not have put there.
    fn name(&self) -> String {
        let whole = self.path.as_str();
        let path = &whole[..whole.floor_char_boundary(MAX_LOGGED_PATH)];
        // hyper lets in what a terminal obeys, such as U+009B.
        let path = path.escape_default();
        match whole.strip_prefix('/') {
            Some(name) if self.method == Method::POST && name.contains('.') => {
                path.skip(1).collect()
            }
            _ => format!("{} {path}", self.method),
        }
    }
}

/// An answer that the log will tell of.
pub(crate) struct Observed<F> {
    // Before the record: whoever leaves has let go of what a call held by the
    // time of its line.
    answer: F,
    record: Record,
}

impl<B, F: Future<Output = Response<B>> + Unpin> Future for Observed<F> {
    type Output = Result<Response<B>, Infallible>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.answer)
            .poll(context)
            .map(|mut response| {
                self.record.finish(&mut response);
                Ok(response)
            })
    }
}

/// What a request asks for. To keep a path costs, so one of the quiet methods is
/// not copied.
enum Path {
    Quiet(&'static str),
    Other(Box<Uri>),
}

impl Path {
    fn of(uri: &Uri) -> Self {
        methods::quiet_path(uri.path())
            .map_or_else(|| Self::Other(Box::new(uri.clone())), Self::Quiet)
    }

    fn as_str(&self) -> &str {
        match self {
            Self::Quiet(path) => path,
            Self::Other(uri) => uri.path(),
        }
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        if !self.finished && self.has_line(&Outcome::CANCELLED) {
            self.log(&Outcome::CANCELLED, Uuid::new_v4());
        }
    }
}

/// How a request ended.
struct Outcome {
    /// A gRPC code by its name, or an HTTP status where there is none.
    code: Cow<'static, str>,
    reason: Option<Cow<'static, str>>,
    cause: Option<String>,
    effect: Effect,
}

/// What a request has come to, as far as its line goes.
#[derive(Clone, Copy)]
enum Effect {
    /// It changed something, unless its method never does.
    Change,
    /// It was a success that changed nothing.
    None,
    /// It failed.
    Failed(Reason),
}

impl Outcome {
    const CANCELLED: Self = Self {
        code: Cow::Borrowed("CANCELLED"),
        reason: None,
        cause: None,
        effect: Effect::Failed(Reason::Free),
    };

    fn of<B>(response: &Response<B>) -> Self {
        // Status::into_http leaves the whole status, with its cause, in the
        // extensions. A success that has a body has none.
        if let Some(status) = response.extensions().get::<Status>() {
            return Self {
                code: status::code_name(status.code()).into(),
                reason: status::reason(status),
                cause: status.source().map(with_causes),
                effect: Effect::of(response, status.code() != Code::Ok, || {
                    status.source()?;
                    Some(status.code() == Code::Unavailable)
                }),
            };
        }
        let is_grpc = response
            .headers()
            .get(header::CONTENT_TYPE)
            .is_some_and(|value| value.as_bytes().starts_with(b"application/grpc"));
        // Plain HTTP leaves this, for the same purpose.
        let failure = response.extensions().get::<Failure>();
        let cause = failure.and_then(|failure| failure.cause.as_ref());
        let is_failed = !response.status().is_success() && !response.status().is_redirection();
        Self {
            code: if is_grpc {
                status::code_name(Code::Ok).into()
            } else {
                response.status().as_u16().to_string().into()
            },
            reason: failure.map(|failure| failure.reason.into()),
            cause: cause.map(|cause| with_causes(cause.as_ref())),
            effect: Effect::of(response, is_failed, || {
                cause?;
                Some(response.status() == StatusCode::SERVICE_UNAVAILABLE)
            }),
        }
    }
}

impl Effect {
    /// `fault` tells of a failure whether it has a cause of our own, and whether that is
    /// something unavailable.
    fn of<B>(
        response: &Response<B>,
        is_failed: bool,
        fault: impl FnOnce() -> Option<bool>,
    ) -> Self {
        if !is_failed {
            let no_effect = response.extensions().get::<NoEffect>();
            return no_effect.map_or(Self::Change, |_| Self::None);
        }
        Self::Failed(match fault() {
            None => Reason::Free,
            Some(true) => Reason::Unavailable,
            Some(false) => Reason::Internal,
        })
    }
}
