//! How long a request may take, and how many a connection may have in progress.

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
    http::flask,
    peer::Peer,
    request_context::RequestContext,
    rpc::status,
};

/// How requests of one protocol are held to their time and their connection to
/// its share of work, and how they are told.
pub(crate) struct Limit<R> {
    timeout: Duration,
    /// How long the caller itself waits, if it says.
    patience: fn(&HeaderMap) -> Option<Duration>,
    connection_full: fn() -> R,
    too_slow: fn() -> R,
}

impl Limit<Response<Body>> {
    pub(crate) fn grpc(timeout: Duration) -> Self {
        Self {
            timeout,
            patience: grpc_timeout::parse,
            connection_full: || status::connection_full().into_http(),
            too_slow: || status::too_slow().into_http(),
        }
    }
}

impl Limit<response::Response> {
    pub(crate) fn http(timeout: Duration) -> Self {
        Self {
            timeout,
            patience: |_| None,
            connection_full: flask::connection_full,
            too_slow: flask::too_slow,
        }
    }
}

impl<R> Limit<R> {
    /// Makes the [`RequestContext`] of a request, leaves it in the request's extensions and
    /// has the request answered; or refuses it if its connection has no share left.
    pub(crate) fn hold<B, F>(
        &self,
        mut request: Request<B>,
        answer: impl FnOnce(Request<B>) -> F,
    ) -> Result<Limited<R, F>, R> {
        let peer = request.extensions().get::<Peer>();
        if peer.is_some_and(Peer::is_over_limit) {
            return Err((self.connection_full)());
        }
        let source = peer.map(source).unwrap_or_default();
        let deadline = self.deadline(request.headers()).from_source(source);
        if let Some(client_address) = peer.map(Peer::client_ip) {
            let context = RequestContext::new(client_address, deadline);
            request.extensions_mut().insert(context);
        }
        Ok(Limited {
            answer: answer(request),
            deadline,
            timer: None,
            too_slow: self.too_slow,
        })
    }

    /// When a request that begins now has to be answered.
    fn deadline(&self, headers: &HeaderMap) -> Deadline {
        // Whoever gives up sooner is not worked for any longer.
        let patience = (self.patience)(headers);
        Deadline::after(patience.map_or(self.timeout, |own| own.min(self.timeout)))
    }
}

/// Whose turn a request takes: its connection's, or that of the client for whom a
/// trusted proxy sends it.
fn source(peer: &Peer) -> Source {
    let client = peer.client_ip();
    if client == peer.address().ip().to_canonical() {
        return Source::Connection(peer.connection());
    }
    Source::Client(Network::of(client))
}

/// The answer to a request in progress, or that it took too long.
pub(crate) struct Limited<R, F> {
    answer: F,
    deadline: Deadline,
    timer: Option<Pin<Box<Sleep>>>,
    too_slow: fn() -> R,
}

impl<R, F: Future<Output = R> + Unpin> Future for Limited<R, F> {
    type Output = R;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<R> {
        if let Poll::Ready(response) = Pin::new(&mut self.answer).poll(context) {
            return Poll::Ready(response);
        }
        // Only now: what is answered from memory needs no timer.
        let deadline = self.deadline.instant().into();
        let timer = self
            .timer
            .get_or_insert_with(|| Box::pin(time::sleep_until(deadline)));
        timer.as_mut().poll(context).map(|()| (self.too_slow)())
    }
}

/// The limits as a layer.
pub(crate) async fn limit(
    State(limit): State<Arc<Limit<response::Response>>>,
    request: extract::Request,
    next: Next,
) -> response::Response {
    match limit.hold(request, |request| Box::pin(next.run(request))) {
        Ok(answer) => answer.await,
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
    fn clients_of_a_proxy_take_turns_by_their_network() {
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

    /// The library that counts streams refuses them first.
    #[test]
    fn what_comes_while_a_connection_is_full_is_told_so() {
        let request = || {
            let traffic = Traffic::new(1, &ReplyMemory::default(), &CoarseClock::default());
            let peer = Peer::new("192.0.2.1:4711".parse().unwrap(), traffic);
            let mut request = Request::new(());
            request.extensions_mut().insert(peer.over_limit());
            request
        };
        let answer = |_| async { unreachable!("it is not begun") };
        let timeout = Duration::from_secs(5);
        let grpc = Limit::grpc(timeout).hold(request(), answer).err().unwrap();
        let status = Status::from_header_map(grpc.headers()).unwrap();
        assert_eq!(status.code(), Code::ResourceExhausted);
        assert!(status.message().contains("connection"), "{status:?}");
        let answer = |_| async { unreachable!("it is not begun") };
        let http = Limit::http(timeout).hold(request(), answer).err().unwrap();
        assert_eq!(http.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(http.headers()["retry-after"], "1");
    }

    #[test]
    fn a_deadline_is_the_smaller_of_the_callers_and_ours() {
        let ours = Duration::from_secs(5);
        let of_grpc = |headers: &HeaderMap| Limit::grpc(ours).deadline(headers);
        let of_http = |headers: &HeaderMap| Limit::http(ours).deadline(headers);
        let protocols: [&dyn Fn(&HeaderMap) -> Deadline; 2] = [&of_grpc, &of_http];
        let [grpc, http] = protocols;
        for (deadline_of, sent, expected) in [
            (grpc, None, ours),
            (grpc, Some("2S"), Duration::from_secs(2)),
            (grpc, Some("1H"), ours),
            (grpc, Some("soon"), ours),
            // Whoever sends a form has no way to say.
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
