//! Passes the requests of one connection to the request handler.

use std::{convert::Infallible, sync::Arc};

use axum::http::{Request, Response, Version};
use hyper::{body::Incoming, service::Service};
use ipnet::IpNet;

use super::{
    client_address,
    connection::RequestSeen,
    head_timer::ReceivedBytes,
    known_callers::KnownCallers,
    refusal_log::{RefusalKind, RefusalLog},
    reply::{ReplyBody, ReplyFuture},
    request_handler::RequestHandler,
};
use crate::{domain::Network, peer::Peer};

/// The service that hyper calls for each request of a connection.
pub(crate) struct RequestService<H> {
    pub(crate) handler: Arc<H>,
    pub(crate) peer: Peer,
    pub(crate) trusted_proxies: Arc<[IpNet]>,
    pub(crate) known_callers: KnownCallers,
    pub(crate) request_seen: RequestSeen,
    pub(crate) received: ReceivedBytes,
    pub(crate) refusal_log: Arc<RefusalLog>,
}

impl<H: RequestHandler> Service<Request<Incoming>> for RequestService<H> {
    type Response = Response<ReplyBody>;
    type Error = Infallible;
    type Future = ReplyFuture<H::Response>;

    fn call(&self, mut request: Request<Incoming>) -> Self::Future {
        self.request_seen.set();
        if request.version() < Version::HTTP_2 {
            self.received.record_head(&request);
        }
        let client = client_address::of_request(
            self.peer.client_ip(),
            &self.trusted_proxies,
            request.headers(),
        );
        let peer = self.peer.with_client_ip(client);
        let traffic = Arc::clone(peer.traffic());
        let evidence = self
            .handler
            .evidence(request.method(), request.uri().path());
        let proof = self.known_callers.proof(evidence, &traffic);
        if let Some(permit) = traffic.begin_request() {
            request.extensions_mut().insert(peer);
            return ReplyFuture::new(self.handler.handle(request), traffic, permit, proof);
        }
        let (handler, refusal_log) = (Arc::clone(&self.handler), Arc::clone(&self.refusal_log));
        let start = move || {
            let permit = peer.traffic().begin_request();
            let peer = match &permit {
                Some(_) => peer,
                None => {
                    refusal_log.record(RefusalKind::Requests, Network::of(peer.address().ip()));
                    peer.over_limit()
                }
            };
            request.extensions_mut().insert(peer);
            (handler.handle(request), permit)
        };
        ReplyFuture::deferred(Box::new(start), traffic, proof)
    }
}
