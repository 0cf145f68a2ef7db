//! The rest of a request's body over HTTP/1.1, where its answer is there before its end.
//!
//! The next request on a connection begins where the body ends. When that end has not been
//! reached, hyper closes the connection after the answer, and a client that was not told
//! so sends its next request into it. So the rest is read as far as that is cheap, and
//! beyond that the answer says that it is the last one.

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

/// How much is read and thrown away, in bytes. A connection that is closed on unread bytes
/// is reset, and then its client may not get to read the answer.
const MAX_DISCARDED: usize = 1024 * 1024;

/// How long that may take.
const MAX_TIME: Duration = Duration::from_secs(1);

/// A body that is followed to its end.
pub(crate) struct TrackedBody {
    /// There until it is dropped.
    body: Option<Incoming>,
    rest: Option<RemainingBody>,
    is_begun: bool,
}

/// What has become of a body. Clones share it.
#[derive(Clone)]
pub(crate) struct RemainingBody(Arc<Mutex<State>>);

enum State {
    /// Somebody has it.
    Held,
    /// It was read to its end.
    Ended,
    /// It was let go of before that.
    Left { body: Incoming, is_begun: bool },
}

/// Follows the body of a request whose answer could come before its end, and would have to
/// say so.
pub(crate) fn follow(request: Request<Incoming>) -> (Request<TrackedBody>, Option<RemainingBody>) {
    let is_followed =
        request.version() < Version::HTTP_2 && !HttpBody::is_end_stream(request.body());
    let rest = is_followed.then(|| RemainingBody(Arc::new(Mutex::new(State::Held))));
    let followed = rest.clone();
    let request = request.map(|body| TrackedBody {
        body: Some(body),
        rest: followed,
        is_begun: false,
    });
    (request, rest)
}

/// Whether a client waits to be told to send its body.
pub(crate) fn is_awaited(headers: &HeaderMap) -> bool {
    let expected = headers.get(header::EXPECT);
    expected.is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"100-continue"))
}

impl RemainingBody {
    /// Reads on to the end of the body, once it is answered; whether that was reached. A
    /// client that waits to be told to send its body is not told.
    pub(crate) async fn discard(self, is_awaited: bool) -> bool {
        match self.replace(State::Held) {
            State::Ended => true,
            State::Held => false,
            State::Left {
                is_begun: false, ..
            } if is_awaited => false,
            State::Left { body, .. } => timeout(MAX_TIME, read_to_end(body)).await.unwrap_or(false),
        }
    }

    fn replace(&self, state: State) -> State {
        let mut own = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::replace(&mut own, state)
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
                // There is nothing to be read after an error: it stays without an end.
                self.rest = None;
                false
            }
            Poll::Pending => false,
        };
        if is_end && let Some(rest) = self.rest.take() {
            rest.replace(State::Ended);
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
        if let (Some(body), Some(rest)) = (self.body.take(), self.rest.take()) {
            let is_begun = self.is_begun;
            rest.replace(State::Left { body, is_begun });
        }
    }
}
