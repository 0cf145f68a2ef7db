//! `bienvenue.v1.AdminService`, on the internal listener.

pub(crate) mod authentication;

use std::{
    convert::Infallible,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
    time::Duration,
};

use axum::http;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch},
    time,
};
use tonic::{
    Request, Response, Status,
    body::Body,
    codegen::{BoxFuture, tokio_stream::Stream},
    server::NamedService,
};
use tower::Service;

use self::authentication::AdminToken;
use super::{encoding::messages, request::context, status};
use crate::{
    auth::{
        Auth, AuthError,
        sessions::freshness::{Watch, WatchError},
    },
    domain::Revision,
    proto::v1::{
        WatchRevocationsRequest, WatchRevocationsResponse,
        admin_service_server::{AdminService, AdminServiceServer},
    },
};

/// The largest number of concurrent streams.
const MAX_WATCHERS: usize = 1_024;

/// The number of messages that wait for a slow reader.
const BUFFERED_EVENTS: usize = 64;

/// How long a message may wait for its reader.
const SEND_TIMEOUT: Duration = Duration::from_secs(5);

/// `bienvenue.v1.AdminService` behind the check of its token, which covers every method and
/// precedes the reading of the request.
#[derive(Clone)]
pub struct AdminServer {
    token: AdminToken,
    generated: AdminServiceServer<AdminRpc>,
}

impl AdminServer {
    /// Serves callers with this token until `stop` changes, and reads messages of at most
    /// `max_message_size` bytes.
    pub fn new(
        auth: Auth,
        token: AdminToken,
        max_message_size: usize,
        stop: watch::Receiver<()>,
    ) -> Self {
        let rpc = AdminRpc {
            auth,
            watchers: Arc::new(Semaphore::new(MAX_WATCHERS)),
            stop,
        };
        Self {
            token,
            generated: AdminServiceServer::new(rpc).max_decoding_message_size(max_message_size),
        }
    }
}

impl NamedService for AdminServer {
    const NAME: &'static str = <AdminServiceServer<AdminRpc> as NamedService>::NAME;
}

impl<B> Service<http::Request<B>> for AdminServer
where
    AdminServiceServer<AdminRpc>: Service<
            http::Request<B>,
            Response = http::Response<Body>,
            Error = Infallible,
            Future = BoxFuture<http::Response<Body>, Infallible>,
        >,
{
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<Self::Response, Infallible>;

    fn poll_ready(&mut self, _context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<B>) -> Self::Future {
        if self.token.is_in(request.headers()) {
            return self.generated.call(request);
        }
        let refusal = status::admin_token_invalid().into_http();
        Box::pin(async { Ok(refusal) })
    }
}

/// The methods, for callers with a valid token.
struct AdminRpc {
    auth: Auth,
    watchers: Arc<Semaphore>,
    /// Changes when the service is about to stop.
    stop: watch::Receiver<()>,
}

#[tonic::async_trait]
impl AdminService for AdminRpc {
    type WatchRevocationsStream = RevocationStream;

    async fn watch_revocations(
        &self,
        request: Request<WatchRevocationsRequest>,
    ) -> Result<Response<RevocationStream>, Status> {
        let permit = Arc::clone(&self.watchers).try_acquire_owned();
        let permit = permit.map_err(|_| status::too_many_watchers())?;
        let since = match request.get_ref().since_revision {
            Some(negative) if negative < 0 => return Err(status::negative_revision()),
            since => since.map(Revision),
        };
        let context = context(&request)?;
        let watch = self.auth.watch_revocations(since, &context).await?;
        let (sender, receiver) = mpsc::channel(BUFFERED_EVENTS);
        let end = EndStatus::default();
        let stream = RevocationStream {
            receiver,
            end: end.clone(),
        };
        let mut stop = self.stop.clone();
        tokio::spawn(async move {
            let why = tokio::select! {
                why = forward(watch, &sender, permit) => why,
                _ = stop.changed() => Some(status::stopping()),
                () = sender.closed() => None,
            };
            end.set(why);
        });
        Ok(Response::new(stream))
    }
}

/// Forwards events to a stream; returns why it ended, unless the reader is gone.
async fn forward(
    mut watch: Watch,
    sender: &mpsc::Sender<WatchRevocationsResponse>,
    _permit: OwnedSemaphorePermit,
) -> Option<Status> {
    loop {
        let message = match watch.next().await {
            Ok(told) => messages::watch_event(told),
            Err(error) => return Some(error.into()),
        };
        match time::timeout(SEND_TIMEOUT, sender.send(message)).await {
            Ok(Ok(())) => {}
            Ok(Err(_)) => return None,
            Err(_) => return Some(status::slow_reader()),
        }
    }
}

/// Why a stream ended, for its last message.
#[derive(Clone, Default)]
struct EndStatus(Arc<Mutex<Option<Status>>>);

impl EndStatus {
    fn set(&self, why: Option<Status>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = why;
    }

    fn take(&self) -> Option<Status> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// The messages of one stream.
pub struct RevocationStream {
    receiver: mpsc::Receiver<WatchRevocationsResponse>,
    end: EndStatus,
}

impl Stream for RevocationStream {
    type Item = Result<WatchRevocationsResponse, Status>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let next = self.receiver.poll_recv(context);
        next.map(|message| message.map(Ok).or_else(|| self.end.take().map(Err)))
    }
}

impl From<WatchError> for Status {
    fn from(error: WatchError) -> Self {
        match error {
            WatchError::Swept => status::revision_swept(),
            WatchError::Interrupted => status::interrupted(),
            WatchError::Db(error) => AuthError::from(error).into(),
        }
    }
}
