//! `WatchRevocations`, a stream.

use std::{
    error::Error,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
    time::Duration,
};

use tokio::{
    sync::{OwnedSemaphorePermit, mpsc, watch},
    time,
};
use tonic::{Request, Response, Status, codegen::tokio_stream::Stream};

use crate::{
    auth::{
        Auth, AuthError,
        sessions::freshness::{Watch, WatchError},
    },
    domain::Revision,
    error_chain::with_causes,
    proto::v1::{WatchRevocationsRequest, WatchRevocationsResponse},
    request_context::RequestId,
    rpc::{encoding::messages, request::context, status},
};

/// The largest number of concurrent streams.
pub(super) const MAX_WATCHERS: usize = 1_024;

/// The number of messages that wait for a slow reader.
const BUFFERED_EVENTS: usize = 64;

/// How long a message may wait for its reader.
const SEND_TIMEOUT: Duration = Duration::from_secs(5);

/// Begins a stream, which holds the permit until it ends.
pub(super) async fn watch_revocations(
    auth: &Auth,
    request: Request<WatchRevocationsRequest>,
    permit: OwnedSemaphorePermit,
    mut stop: watch::Receiver<()>,
) -> Result<Response<RevocationStream>, Status> {
    let since = match request.get_ref().since_revision {
        Some(negative) if negative < 0 => return Err(status::negative_revision()),
        since => since.map(Revision),
    };
    let context = context(&request)?;
    let watch = auth.watch_revocations(since, &context).await?;
    let request_id = context.request_id();
    let (sender, receiver) = mpsc::channel(BUFFERED_EVENTS);
    let end = EndStatus::default();
    let stream = RevocationStream {
        receiver,
        end: end.clone(),
    };
    tokio::spawn(async move {
        let why = tokio::select! {
            why = forward(watch, &sender, permit) => why,
            _ = stop.changed() => Some(status::stopping()),
            () = sender.closed() => None,
        };
        if let Some(why) = &why {
            log_cause(why, request_id);
        }
        end.set(why);
    });
    Ok(Response::new(stream))
}

/// Forwards events to a stream; returns why it ended, unless the reader is gone.
async fn forward(
    mut watch: Watch,
    sender: &mpsc::Sender<WatchRevocationsResponse>,
    _permit: OwnedSemaphorePermit,
) -> Option<Status> {
    loop {
        let message = match watch.next().await {
            Ok(event) => messages::watch_event(event),
            Err(error) => return Some(error.into()),
        };
        match time::timeout(SEND_TIMEOUT, sender.send(message)).await {
            Ok(Ok(())) => {}
            Ok(Err(_)) => return None,
            Err(_) => return Some(status::slow_reader()),
        }
    }
}

/// Logs the cause of a fault. The request's own line was written when its stream began.
fn log_cause(why: &Status, request_id: RequestId) {
    if let Some(cause) = why.source() {
        tracing::error!(
            %request_id,
            code = status::code_name(why.code()),
            cause = with_causes(cause),
            "a stream of revocations ended"
        );
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
pub(super) struct RevocationStream {
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
