//! Discards the rest of an HTTP/1.1 request body whose response is ready before its end.
//!
//! The next request on a connection begins where the body ends. hyper closes the connection
//! after a response to an unfinished body, and a client without notice would send its next
//! request into the closed connection. So a short rest is read and discarded; otherwise the
//! response has `Connection: close`.

use std::{
    future::poll_fn,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
    time::Duration,
};

use axum::{
    body::HttpBody,
    http::{HeaderMap, Request, Version, header},
};
use bytes::Bytes;
use hyper::body::{Frame, Incoming, SizeHint};
use tokio::time::timeout;

/// The limit on discarded bytes. Closing a connection with unread bytes resets it, and the
/// client may lose the response.
const MAX_DISCARDED: usize = 1024 * 1024;

/// The limit on the time to discard a body.
const MAX_DISCARD_TIME: Duration = Duration::from_secs(1);

/// A request body that reports its progress to a [`RemainingBody`].
pub(crate) struct TrackedBody {
    /// `None` only during drop.
    body: Option<Incoming>,
    remaining: Option<RemainingBody>,
    is_begun: bool,
}

/// The progress of a body. Clones share it.
#[derive(Clone)]
pub(crate) struct RemainingBody(Arc<Mutex<BodyProgress>>);

enum BodyProgress {
    /// A handler owns the body.
    Owned,
    /// The body was read to its end.
    Complete,
    /// The body was dropped before its end.
    Dropped { body: Incoming, is_begun: bool },
}

/// Tracks the body of an HTTP/1.1 request; there is no [`RemainingBody`] for HTTP/2 or an
/// empty body.
pub(crate) fn track(request: Request<Incoming>) -> (Request<TrackedBody>, Option<RemainingBody>) {
    let is_tracked =
        request.version() < Version::HTTP_2 && !HttpBody::is_end_stream(request.body());
    let remaining = is_tracked.then(|| RemainingBody(Arc::new(Mutex::new(BodyProgress::Owned))));
    let tracked = remaining.clone();
    let request = request.map(|body| TrackedBody {
        body: Some(body),
        remaining: tracked,
        is_begun: false,
    });
    (request, remaining)
}

/// Whether the client waits for `100 Continue` before it sends the body.
pub(crate) fn expects_continue(headers: &HeaderMap) -> bool {
    let expected = headers.get(header::EXPECT);
    expected.is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"100-continue"))
}

impl RemainingBody {
    /// Discards the rest of the body; `true` if its end was reached. Does not ask for the body
    /// of a client that waits for `100 Continue`.
    pub(crate) async fn discard(self, expects_continue: bool) -> bool {
        match self.replace(BodyProgress::Owned) {
            BodyProgress::Complete => true,
            BodyProgress::Owned => false,
            BodyProgress::Dropped {
                is_begun: false, ..
            } if expects_continue => false,
            BodyProgress::Dropped { body, .. } => timeout(MAX_DISCARD_TIME, read_to_end(body))
                .await
                .unwrap_or(false),
        }
    }

    fn replace(&self, progress: BodyProgress) -> BodyProgress {
        let mut current = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::replace(&mut current, progress)
    }
}

async fn read_to_end(mut body: Incoming) -> bool {
    let mut length = 0;
    while let Some(frame) = poll_fn(|context| Pin::new(&mut body).poll_frame(context)).await {
        let Ok(frame) = frame else {
            return false;
        };
        length += frame.data_ref().map_or(0, Bytes::len);
        if length > MAX_DISCARDED {
            return false;
        }
    }
    true
}

impl HttpBody for TrackedBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        self.is_begun = true;
        let Some(body) = &mut self.body else {
            return Poll::Ready(None);
        };
        let frame = Pin::new(&mut *body).poll_frame(context);
        let is_end = match &frame {
            Poll::Ready(None) => true,
            Poll::Ready(Some(Ok(_))) => HttpBody::is_end_stream(body),
            Poll::Ready(Some(Err(_))) => {
                // A body with an error cannot be read to its end.
                self.remaining = None;
                false
            }
            Poll::Pending => false,
        };
        if is_end && let Some(remaining) = self.remaining.take() {
            remaining.replace(BodyProgress::Complete);
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(HttpBody::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.body
            .as_ref()
            .map(HttpBody::size_hint)
            .unwrap_or_default()
    }
}

impl Drop for TrackedBody {
    fn drop(&mut self) {
        if let (Some(body), Some(remaining)) = (self.body.take(), self.remaining.take()) {
            let is_begun = self.is_begun;
            remaining.replace(BodyProgress::Dropped { body, is_begun });
        }
    }
}
