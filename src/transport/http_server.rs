//! Serves HTTP on accepted connections until shutdown.
//!
//! hyper is driven directly: tonic's own server has no settings for HTTP/1.1, replies to an
//! expired `grpc-timeout` with a status of its own, and closes an old connection without
//! a graceful shutdown.

use std::{pin::pin, sync::Arc, time::Duration};

use futures_util::FutureExt as _;
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
    fair_executor::{FairExecutor, ServeEnd, StreamSpawner},
    head_timer::HeadTimer,
    listener::{Accepted, Listener},
    refusal_log::{RefusalKind, RefusalLog},
    request_handler::RequestHandler,
    request_service::RequestService,
    write_timeout::WriteTimeout,
};
use crate::{config::LimitSettings, domain::Network, peer::CoarseClock};

/// The flow control window of a stream, in bytes: more than the largest message, and far less
/// than hyper's default of 1 MiB.
const STREAM_WINDOW: u32 = 64 * 1024;

/// The flow control window of a connection, in bytes.
const CONNECTION_WINDOW: u32 = 256 * 1024;

/// The bytes of a stream's response that are buffered for a peer that does not read.
const SEND_BUFFER: usize = 64 * 1024;

/// hyper's minimum for the buffer of an HTTP/1.1 connection, in bytes.
const MIN_BUFFER: usize = 8 * 1024;

/// The time in which a connection without a request may still send one after the server
/// asked it to close.
const FIRST_REQUEST_GRACE: Duration = Duration::from_secs(1);

/// Serves connections with a request handler.
pub(crate) struct HttpServer<H> {
    limits: LimitSettings,
    handler: Arc<H>,
    trusted_proxies: Arc<[IpNet]>,
    connections: JoinSet<()>,
    shutdown: watch::Sender<()>,
}

impl<H: RequestHandler> HttpServer<H> {
    pub(crate) fn new(handler: H, limits: &LimitSettings, trusted_proxies: Vec<IpNet>) -> Self {
        Self {
            limits: limits.clone(),
            handler: Arc::new(handler),
            trusted_proxies: trusted_proxies.into(),
            connections: JoinSet::new(),
            shutdown: watch::Sender::new(()),
        }
    }

    /// Accepts and serves connections until `shutdown` resolves.
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

    /// Asks every connection to close after its requests in progress, and waits for that.
    /// `false` if some were still open at the deadline; they are closed then.
    pub(crate) async fn drain(mut self, deadline: Instant) -> bool {
        let _ = self.shutdown.send(());
        let drained = async { while self.connections.join_next().await.is_some() {} };
        time::timeout_at(deadline, drained).await.is_ok()
    }

    fn serve(&mut self, accepted: Accepted, refusal_log: &Arc<RefusalLog>) {
        let Accepted {
            connection,
            known_callers,
            mut evicted,
        } = accepted;
        let peer = connection.peer();
        let network = Network::of(peer.address().ip());
        let traffic = Arc::clone(peer.traffic());
        let request_seen = connection.request_seen();
        let timer = HeadTimer::new(connection.received(), &self.limits);
        let service = RequestService {
            handler: Arc::clone(&self.handler),
            peer,
            trusted_proxies: Arc::clone(&self.trusted_proxies),
            known_callers,
            request_seen: request_seen.clone(),
            received: connection.received(),
            refusal_log: Arc::clone(refusal_log),
        };
        let mut executor = FairExecutor::default();
        let served = builder(&self.limits, timer, executor.spawner())
            .serve_connection(TokioIo::new(connection), service)
            .into_owned();
        let mut write_timeout = WriteTimeout::new(Arc::clone(&traffic), self.limits.send_timeout);
        let max_age = self.limits.max_connection_age;
        let max_age_grace = self.limits.max_connection_age_grace;
        let mut shutdown = self.shutdown.subscribe();
        let refusal_log = Arc::clone(refusal_log);
        self.connections.spawn(async move {
            let mut served = pin!(served);
            let grace = tokio::select! {
                biased;
                end = executor.serve(served.as_mut(), &mut write_timeout) => match end {
                    ServeEnd::Ended => return,
                    ServeEnd::WriteTimeout => {
                        refusal_log.record(RefusalKind::Unread, network);
                        match traffic.is_short_of_memory() {
                            true => Duration::ZERO,
                            false => max_age_grace,
                        }
                    }
                },
                Ok(()) = &mut evicted => Duration::ZERO,
                () = time::sleep(max_age) => grace_period(request_seen.get()),
                _ = shutdown.changed() => grace_period(request_seen.get()),
            };
            served.as_mut().graceful_shutdown();
            if grace.is_zero() {
                // Sends a GOAWAY, if the socket takes it.
                let _ = executor
                    .serve(served.as_mut(), &mut write_timeout)
                    .now_or_never();
            } else {
                tokio::select! {
                    biased;
                    _ = executor.serve(served.as_mut(), &mut write_timeout) => {}
                    Ok(()) = &mut evicted => {}
                    () = time::sleep(grace) => {}
                }
            }
            if traffic.has_unsent() {
                traffic.abort();
            }
        });
    }
}

/// The time for which a connection may stay open after the server asked it to close.
fn grace_period(request_seen: bool) -> Duration {
    if request_seen {
        Duration::MAX
    } else {
        FIRST_REQUEST_GRACE
    }
}

fn builder(
    limits: &LimitSettings,
    timer: HeadTimer,
    spawner: StreamSpawner,
) -> Builder<StreamSpawner> {
    let mut builder = Builder::new(spawner);
    builder
        .http1()
        .timer(timer)
        .header_read_timeout(limits.handshake_timeout)
        .max_buf_size(limits.max_header_list_size.max(MIN_BUFFER));
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(limits.max_concurrent_streams())
        .max_local_error_reset_streams(limits.max_local_error_reset_streams)
        .max_header_list_size(u32::try_from(limits.max_header_list_size).unwrap_or(u32::MAX))
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_send_buf_size(SEND_BUFFER)
        .keep_alive_interval(limits.keepalive_interval)
        .keep_alive_timeout(limits.keepalive_timeout);
    builder
}
