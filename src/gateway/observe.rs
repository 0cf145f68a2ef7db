//! The observer of each request: writes the one log line on a request that changes something
//! or fails.
//!
//! A request has no line if
//! - it read successfully: its gRPC method only reads ([`methods`]), or its HTTP method is safe;
//! - its second is over the quota ([`log_quota`]), which also counts successes that changed nothing
//!   ([`NoEffect`](crate::no_effect::NoEffect));
//! - it was refused before it was a request (`transport/refusal_log.rs`);
//! - the reader of the log is slow (`log/output.rs`), or the setting `log` leaves it out.

pub(crate) mod log_quota;
mod outcome;

use std::{
    convert::Infallible,
    net::{IpAddr, SocketAddr},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Instant,
};

use axum::http::{HeaderName, HeaderValue, Method, Request, Response, Uri};
use tracing::Level;

use self::{
    log_quota::{LogQuotas, QuotaClass},
    outcome::{Effect, RequestOutcome},
};
use crate::{
    domain::Network,
    peer::Peer,
    request_context::RequestId,
    request_line::{EXPENDABLE_LINE, REQUEST_LINE},
    rpc::methods,
};

/// The response header with the id of the request's log line.
pub(crate) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// The limit on a path in the log, in bytes.
const MAX_LOGGED_PATH: usize = 128;

/// The data of a request's log line. The line is also written when the request is dropped
/// before its response, because its caller cancelled it.
pub(crate) struct RequestRecord {
    method: Method,
    path: LoggedPath,
    /// The addresses of the peer and of the client.
    addresses: Option<(SocketAddr, IpAddr)>,
    request_id: RequestId,
    start: Instant,
    quotas: Arc<LogQuotas>,
    is_finished: bool,
}

impl RequestRecord {
    /// Gives the request its id, and records the rest.
    pub(crate) fn new<B>(request: &mut Request<B>, quotas: &Arc<LogQuotas>) -> Self {
        let request_id = RequestId::random();
        request.extensions_mut().insert(request_id);
        let peer = request.extensions().get::<Peer>();
        Self {
            method: request.method().clone(),
            path: LoggedPath::of(request.uri()),
            addresses: peer.map(|peer| (peer.address(), peer.client_ip())),
            request_id,
            start: Instant::now(),
            quotas: Arc::clone(quotas),
            is_finished: false,
        }
    }

    /// Writes the line when the response is ready.
    pub(crate) fn observe<F>(self, response: F) -> ObservedFuture<F> {
        ObservedFuture {
            response,
            record: self,
        }
    }

    /// Writes the line if there is to be one, and adds its request id to the response.
    fn finish<B>(&mut self, response: &mut Response<B>) {
        self.is_finished = true;
        let outcome = RequestOutcome::of(response);
        if !self.has_line(&outcome) {
            return;
        }
        self.log(&outcome);
        if let Ok(value) = HeaderValue::from_str(&self.request_id.to_string()) {
            response.headers_mut().insert(REQUEST_ID, value);
        }
    }

    /// Whether the request has a line: each change does, and other requests within their
    /// quota.
    fn has_line(&self, outcome: &RequestOutcome) -> bool {
        if tracing::enabled!(Level::DEBUG) {
            return true;
        }
        let class = match outcome.effect {
            Effect::None | Effect::Change if self.is_quiet() => return false,
            Effect::Change => return true,
            Effect::None => QuotaClass::Expendable,
            Effect::Failed(class) => class,
        };
        let client = self.addresses.map(|(_, client)| Network::of(client));
        self.quotas.take(class, client)
    }

    fn is_quiet(&self) -> bool {
        self.method.is_safe() || matches!(self.path, LoggedPath::Quiet(_))
    }

    fn log(&self, outcome: &RequestOutcome) {
        // tracing needs a constant level for each event.
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
                    request_id = %self.request_id,
                    cause = outcome.cause,
                    "request"
                )
            };
        }
        match outcome.effect {
            Effect::Failed(QuotaClass::Unavailable | QuotaClass::Internal) => {
                line!(REQUEST_LINE, Level::ERROR);
            }
            Effect::Failed(QuotaClass::Expendable) => line!(EXPENDABLE_LINE, Level::INFO),
            Effect::Change | Effect::None if self.is_quiet() => {
                line!(EXPENDABLE_LINE, Level::DEBUG);
            }
            Effect::None => line!(EXPENDABLE_LINE, Level::INFO),
            Effect::Change => line!(REQUEST_LINE, Level::INFO),
        }
    }

    /// The client, where it is not the peer itself.
    fn client(&self) -> Option<String> {
        let (peer, client) = self.addresses?;
        let is_other = client != peer.ip().to_canonical();
        is_other.then(|| client.to_string())
    }

    /// `bienvenue.v1.AuthService/Login`, or `GET /path`; without the query, which may contain
    /// secrets.
    fn name(&self) -> String {
        let whole = self.path.as_str();
        let path = &whole[..whole.floor_char_boundary(MAX_LOGGED_PATH)];
        // hyper accepts terminal control characters such as U+009B.
        let path = path.escape_default();
        match whole.strip_prefix('/') {
            Some(name) if self.method == Method::POST && name.contains('.') => {
                path.skip(1).collect()
            }
            _ => format!("{} {path}", self.method),
        }
    }
}

/// A response whose request is observed.
pub(crate) struct ObservedFuture<F> {
    // Dropped before the record: a cancelled call has released its resources by the time its
    // line is written.
    response: F,
    record: RequestRecord,
}

impl<B, F: Future<Output = Response<B>> + Unpin> Future for ObservedFuture<F> {
    type Output = Result<Response<B>, Infallible>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.response)
            .poll(context)
            .map(|mut response| {
                self.record.finish(&mut response);
                Ok(response)
            })
    }
}

/// The path of a request. Quiet methods are frequent, so their paths are not copied.
enum LoggedPath {
    Quiet(&'static str),
    Other(Box<Uri>),
}

impl LoggedPath {
    fn of(uri: &Uri) -> Self {
        methods::read_only_path(uri.path())
            .map_or_else(|| Self::Other(Box::new(uri.clone())), Self::Quiet)
    }

    fn as_str(&self) -> &str {
        match self {
            Self::Quiet(path) => path,
            Self::Other(uri) => uri.path(),
        }
    }
}

impl Drop for RequestRecord {
    fn drop(&mut self) {
        if !self.is_finished && self.has_line(&RequestOutcome::CANCELLED) {
            self.log(&RequestOutcome::CANCELLED);
        }
    }
}
