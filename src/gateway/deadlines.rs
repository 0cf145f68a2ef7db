//! The deadline of each request, and the limit on a connection's requests in progress.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use axum::{
    extract::{self, State},
    http::{HeaderMap, Request, Response},
    middleware::Next,
    response,
};
use tokio::time::{self, Sleep};
use tonic::body::Body;

use super::grpc_timeout;
use crate::{
    deadline::{Deadline, Source},
    domain::Network,
    http::replies,
    peer::Peer,
    request_context::{RequestContext, RequestId},
    rpc::status,
};

/// The limits on the requests of one protocol, with the replies to requests that exceed
/// them.
pub(crate) struct RequestLimits<R> {
    timeout: Duration,
    /// The timeout that the caller sent.
    caller_timeout: fn(&HeaderMap) -> Option<Duration>,
    connection_full: fn() -> R,
    too_slow: fn() -> R,
}

impl RequestLimits<Response<Body>> {
    pub(crate) fn grpc(timeout: Duration) -> Self {
        Self {
            timeout,
            caller_timeout: grpc_timeout::parse,
            connection_full: || status::connection_full().into_http(),
            too_slow: || status::too_slow().into_http(),
        }
    }
}

impl RequestLimits<response::Response> {
    pub(crate) fn http(timeout: Duration) -> Self {
        Self {
            timeout,
            caller_timeout: |_| None,
            connection_full: replies::connection_full,
            too_slow: replies::too_slow,
        }
    }
}

impl<R> RequestLimits<R> {
    /// Adds the [`RequestContext`] to a request's extensions and passes the request on.
    /// Refuses it if it is over its connection's limit.
    pub(crate) fn admit<B, F>(
        &self,
        mut request: Request<B>,
        handle: impl FnOnce(Request<B>) -> F,
    ) -> Result<TimedFuture<R, F>, R> {
        let peer = request.extensions().get::<Peer>();
        if peer.is_some_and(Peer::is_over_limit) {
            return Err((self.connection_full)());
        }
        let source = peer.map(source).unwrap_or_default();
        let deadline = self.deadline(request.headers()).with_source(source);
        if let Some(client_address) = peer.map(Peer::client_ip) {
            let request_id = request.extensions().get().copied();
            let request_id = request_id.unwrap_or_else(RequestId::random);
            let context = RequestContext::new(client_address, deadline, request_id);
            request.extensions_mut().insert(context);
        }
        Ok(TimedFuture {
            response: handle(request),
            deadline,
            timer: None,
            too_slow: self.too_slow,
        })
    }

    /// The deadline of a request that starts now.
    fn deadline(&self, headers: &HeaderMap) -> Deadline {
        let caller_timeout = (self.caller_timeout)(headers);
        Deadline::after(caller_timeout.map_or(self.timeout, |own| own.min(self.timeout)))
    }
}

/// The source among which hashing capacity is shared: the connection, or the client for which
/// a trusted proxy sends the request.
fn source(peer: &Peer) -> Source {
    let client = peer.client_ip();
    if client == peer.address().ip().to_canonical() {
        return Source::Connection(peer.connection());
    }
    Source::Client(Network::of(client))
}

/// The response to a request in progress, or the error that it took too long.
pub(crate) struct TimedFuture<R, F> {
    response: F,
    deadline: Deadline,
    timer: Option<Pin<Box<Sleep>>>,
    too_slow: fn() -> R,
}

impl<R, F: Future<Output = R> + Unpin> Future for TimedFuture<R, F> {
    type Output = R;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<R> {
        if let Poll::Ready(response) = Pin::new(&mut self.response).poll(context) {
            return Poll::Ready(response);
        }
        // Set only here: a request answered from memory needs no timer.
        let deadline = self.deadline.instant().into();
        let timer = self
            .timer
            .get_or_insert_with(|| Box::pin(time::sleep_until(deadline)));
        timer.as_mut().poll(context).map(|()| (self.too_slow)())
    }
}

/// The limits as a middleware.
pub(crate) async fn enforce(
    State(limits): State<Arc<RequestLimits<response::Response>>>,
    request: extract::Request,
    next: Next,
) -> response::Response {
    match limits.admit(request, |request| Box::pin(next.run(request))) {
        Ok(response) => response.await,
        Err(full) => full,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use axum::http::{HeaderValue, StatusCode};
    use tonic::{Code, Status};

    use super::*;
    use crate::peer::{CoarseClock, ReplyMemory, Traffic};

    #[test]
    fn clients_behind_a_proxy_are_told_apart_by_network() {
        let peer = |ip: &str| {
            let traffic = Traffic::new(1, &ReplyMemory::default(), &CoarseClock::default());
            Peer::new(format!("{ip}:4711").parse().unwrap(), traffic)
        };
        let [one, other] = [peer("192.0.2.1"), peer("192.0.2.1")];
        assert_eq!(source(&one), source(&one.clone()));
        assert_ne!(source(&one), source(&other), "two connections");
        let client = |of: &Peer, ip: &str| source(&of.with_client_ip(ip.parse().unwrap()));
        assert_eq!(client(&one, "192.0.2.1"), source(&one), "the proxy itself");
        for (ip, same, another) in [
            ("198.51.100.7", "198.51.100.7", "198.51.100.8"),
            ("2001:db8::1", "2001:db8::ffff:2", "2001:db8:0:1::1"),
        ] {
            assert_eq!(client(&one, ip), client(&other, same));
            assert_ne!(client(&one, ip), client(&one, another));
        }
    }

    /// Over HTTP/2, hyper usually refuses such streams first.
    #[test]
    fn a_request_over_its_connections_limit_is_refused() {
        let request = || {
            let traffic = Traffic::new(1, &ReplyMemory::default(), &CoarseClock::default());
            let peer = Peer::new("192.0.2.1:4711".parse().unwrap(), traffic);
            let mut request = Request::new(());
            request.extensions_mut().insert(peer.over_limit());
            request
        };
        let handle = |_| async { unreachable!("the request is refused") };
        let timeout = Duration::from_secs(5);
        let grpc = RequestLimits::grpc(timeout)
            .admit(request(), handle)
            .err()
            .unwrap();
        let status = Status::from_header_map(grpc.headers()).unwrap();
        assert_eq!(status.code(), Code::ResourceExhausted);
        assert!(status.message().contains("connection"), "{status:?}");
        let handle = |_| async { unreachable!("the request is refused") };
        let http = RequestLimits::http(timeout)
            .admit(request(), handle)
            .err()
            .unwrap();
        assert_eq!(http.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(http.headers()["retry-after"], "1");
    }

    #[test]
    fn a_deadline_is_the_smaller_of_the_callers_and_ours() {
        let ours = Duration::from_secs(5);
        let of_grpc = |headers: &HeaderMap| RequestLimits::grpc(ours).deadline(headers);
        let of_http = |headers: &HeaderMap| RequestLimits::http(ours).deadline(headers);
        let protocols: [&dyn Fn(&HeaderMap) -> Deadline; 2] = [&of_grpc, &of_http];
        let [grpc, http] = protocols;
        for (deadline_of, sent, expected) in [
            (grpc, None, ours),
            (grpc, Some("2S"), Duration::from_secs(2)),
            (grpc, Some("1H"), ours),
            (grpc, Some("soon"), ours),
            // A form request cannot send a timeout.
            (http, Some("2S"), ours),
        ] {
            let mut headers = HeaderMap::new();
            if let Some(sent) = sent {
                headers.insert("grpc-timeout", HeaderValue::from_static(sent));
            }
            let before = Instant::now();
            let deadline = deadline_of(&headers);
            assert!(deadline.remaining(before) >= expected, "{sent:?}");
            assert!(deadline.remaining(Instant::now()) <= expected, "{sent:?}");
        }
    }
}
