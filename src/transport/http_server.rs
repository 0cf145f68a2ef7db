//! From accepted connections to answered requests, until it is time to stop.
//!
//! hyper is driven directly: tonic's own server knows no limits for HTTP/1.1,
//! answers a `grpc-timeout` in words of its own, and cuts an old connection
//! without asking it to close first.

use std::{pin::pin, sync::Arc, time::Duration};

use axum::http::{Request, Version};
use futures_util::FutureExt as _;
use hyper::{body::Incoming, service::service_fn};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    server::conn::auto::Builder,
};
use ipnet::IpNet;
use tokio::{
    sync::watch,
    task::JoinSet,
    time::{self, Instant, MissedTickBehavior},
};

use super::{
    client_address,
    fair_executor::{FairExecutor, ServeEnd, StreamSpawner},
    head_timer::HeadTimer,
    listener::{Accepted, Listener},
    refusal_log::{RefusalKind, RefusalLog},
    reply::ReplyFuture,
    request_handler::RequestHandler,
    write_timeout::WriteTimeout,
};
use crate::{config::LimitSettings, domain::Network, peer::CoarseClock};

/// How much of a stream's request may be on its way unread: more than the
/// largest message, and far less than hyper's megabyte.
const STREAM_WINDOW: u32 = 64 * 1024;

/// The same for all streams of a connection.
const CONNECTION_WINDOW: u32 = 256 * 1024;

/// How much of a stream's answer is kept for a peer that does not read it.
const SEND_BUFFER: usize = 64 * 1024;

/// The least that hyper takes for the buffer of an HTTP/1.1 connection.
const MIN_BUFFER: usize = 8 * 1024;

/// How long a connection that has brought no request yet may still bring one
/// after it was asked to close.
const UNHEARD: Duration = Duration::from_secs(1);

/// Connections being served.
pub(crate) struct HttpServer<H> {
    limits: LimitSettings,
    handler: Arc<H>,
    max_age: Duration,
    trusted_proxies: Arc<[IpNet]>,
    connections: JoinSet<()>,
    stop: watch::Sender<()>,
}

impl<H: RequestHandler> HttpServer<H> {
    pub(crate) fn new(handler: H, limits: &LimitSettings, trusted_proxies: Vec<IpNet>) -> Self {
        Self {
            limits: limits.clone(),
            handler: Arc::new(handler),
            max_age: limits.max_connection_age,
            trusted_proxies: trusted_proxies.into(),
            connections: JoinSet::new(),
            stop: watch::Sender::new(()),
        }
    }

    /// Takes connections on until `shutdown` resolves.
    pub(crate) async fn accept(
        &mut self,
        mut listener: Listener,
        shutdown: impl Future<Output = ()>,
    ) {
        let mut shutdown = pin!(shutdown);
        let mut ticks = time::interval(CoarseClock::TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let refusal_log = Arc::clone(listener.refusal_log());
        loop {
            tokio::select! {
                accepted = listener.next() => self.serve(accepted, &refusal_log),
                Some(_) = self.connections.join_next() => {}
                _ = ticks.tick() => listener.clock().advance(),
                () = &mut shutdown => return,
            }
        }
    }

    /// Asks every connection to close once its requests are done, and waits.
    /// Those that are not done in time are cut; `false` then.
    pub(crate) async fn drain(mut self, deadline: Instant) -> bool {
        let _ = self.stop.send(());
        let drained = async { while self.connections.join_next().await.is_some() {} };
        time::timeout_at(deadline, drained).await.is_ok()
    }

    fn serve(&mut self, accepted: Accepted, refusal_log: &Arc<RefusalLog>) {
        let Accepted {
            connection,
            known_callers,
            mut evicted,
        } = accepted;
        let (handler, peer) = (Arc::clone(&self.handler), connection.peer());
        let traffic = Arc::clone(peer.traffic());
        let (request_seen, hears) = (connection.request_seen(), connection.request_seen());
        let received = connection.received();
        let timer = HeadTimer::new(received.clone(), &self.limits);
        let trusted_proxies = Arc::clone(&self.trusted_proxies);
        let network = Network::of(peer.address().ip());
        let (refusal_log, tells) = (Arc::clone(refusal_log), Arc::clone(refusal_log));
        let service = service_fn(move |mut request: Request<Incoming>| {
            hears.set();
            if request.version() < Version::HTTP_2 {
                received.note_head(&request);
            }
            let client =
                client_address::of_request(peer.client_ip(), &trusted_proxies, request.headers());
            let peer = peer.with_client_ip(client);
            let traffic = Arc::clone(peer.traffic());
            let evidence = handler.evidence(request.method(), request.uri().path());
            let proof = known_callers.proof(evidence, &traffic);
            if let Some(permit) = traffic.begin_request() {
                request.extensions_mut().insert(peer);
                return ReplyFuture::new(handler.handle(request), traffic, permit, proof);
            }
            let (handler, refusal_log) = (Arc::clone(&handler), Arc::clone(&refusal_log));
            let begin = move || {
                let permit = peer.traffic().begin_request();
                let peer = match &permit {
                    Some(_) => peer,
                    None => {
                        refusal_log.met(RefusalKind::Requests, network);
                        peer.over_limit()
                    }
                };
                request.extensions_mut().insert(peer);
                (handler.handle(request), permit)
            };
            ReplyFuture::later(Box::new(begin), traffic, proof)
        });
        let mut executor = FairExecutor::default();
        let served = http(&self.limits, timer, executor.spawner())
            .serve_connection(TokioIo::new(connection), service)
            .into_owned();
        let mut write_timeout = WriteTimeout::new(Arc::clone(&traffic), self.limits.send_timeout);
        let grace = self.limits.max_connection_age_grace;
        let (max_age, mut stopped) = (self.max_age, self.stop.subscribe());
        self.connections.spawn(async move {
            let mut served = pin!(served);
            let patience = tokio::select! {
                biased;
                end = executor.serve(served.as_mut(), &mut write_timeout) => match end {
                    // How a connection ends is its peer's affair.
                    ServeEnd::Ended => return,
                    ServeEnd::WriteTimeout => {
                        tells.met(RefusalKind::Unread, network);
                        match traffic.is_short_of_memory() {
                            true => Duration::ZERO,
                            false => grace,
                        }
                    }
                },
                Ok(()) = &mut evicted => Duration::ZERO,
                () = time::sleep(max_age) => patience(request_seen.get()),
                _ = stopped.changed() => patience(request_seen.get()),
            };
            served.as_mut().graceful_shutdown();
            if patience.is_zero() {
                // The peer is told, as far as its socket takes it.
                let _ = executor
                    .serve(served.as_mut(), &mut write_timeout)
                    .now_or_never();
            } else {
                tokio::select! {
                    biased;
                    _ = executor.serve(served.as_mut(), &mut write_timeout) => {}
                    Ok(()) = &mut evicted => {}
                    () = time::sleep(patience) => {}
                }
            }
            if traffic.has_unsent() {
                traffic.abort();
            }
        });
    }
}

/// How long a connection that is asked to close may go on.
fn patience(is_heard: bool) -> Duration {
    if is_heard { Duration::MAX } else { UNHEARD }
}

fn http(
    limits: &LimitSettings,
    timer: HeadTimer,
    spawner: StreamSpawner,
) -> Builder<StreamSpawner> {
    let mut http = Builder::new(spawner);
    http.http1()
        .timer(timer)
        .header_read_timeout(limits.handshake_timeout)
        .max_buf_size(limits.max_header_list_size.max(MIN_BUFFER));
    http.http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(limits.max_concurrent_streams())
        .max_local_error_reset_streams(limits.max_local_error_reset_streams)
        .max_header_list_size(u32::try_from(limits.max_header_list_size).unwrap_or(u32::MAX))
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_send_buf_size(SEND_BUFFER)
        .keep_alive_interval(limits.keepalive_interval)
        .keep_alive_timeout(limits.keepalive_timeout);
    http
}
