//! Replies on their way to the socket. A request counts as in progress, and its reply as
//! unsent, until the last byte of the reply has been handed to the socket.

use std::{
    convert::Infallible,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use axum::http::Response;
use bytes::{Buf, Bytes};
use hyper::body::{Body as HttpBody, Frame, SizeHint};
use tonic::{Status, body::Body};

use super::known_callers::CallerProof;
use crate::peer::{ReplyReservation, RequestPermit, Traffic, UnsentReply};

/// The reply to a request. It holds the permits of the request until the reply has been sent.
pub(crate) struct ReplyFuture<F> {
    response: PendingResponse<F>,
    permits: Option<ReplyPermits>,
    proof: Option<CallerProof>,
}

enum PendingResponse<F> {
    Started(F),
    /// Starts on the first poll; `None` after that.
    Deferred(Option<StartResponse<F>>),
}

/// Starts a response, and counts its request if the connection is below its limit.
type StartResponse<F> = Box<dyn FnOnce() -> (F, Option<RequestPermit>) + Send>;

/// The resources that a reply holds until it has been sent.
struct ReplyPermits {
    traffic: Arc<Traffic>,
    /// `None` for a request over its connection's limit.
    request: Option<RequestPermit>,
    memory: Option<ReplyReservation>,
}

impl<F> ReplyFuture<F> {
    /// The reply to a request with a permit; `proof` is checked against the response.
    pub(crate) fn new(
        response: F,
        traffic: Arc<Traffic>,
        permit: RequestPermit,
        proof: Option<CallerProof>,
    ) -> Self {
        Self::of(
            PendingResponse::Started(response),
            traffic,
            Some(permit),
            proof,
        )
    }

    /// The reply to a request that arrived while its connection was at its limit. It starts on
    /// the first poll: by then, the requests that the caller has just cancelled are dropped,
    /// since their streams run on the same task.
    pub(crate) fn deferred(
        start: StartResponse<F>,
        traffic: Arc<Traffic>,
        proof: Option<CallerProof>,
    ) -> Self {
        Self::of(PendingResponse::Deferred(Some(start)), traffic, None, proof)
    }

    fn of(
        response: PendingResponse<F>,
        traffic: Arc<Traffic>,
        request: Option<RequestPermit>,
        proof: Option<CallerProof>,
    ) -> Self {
        let permits = ReplyPermits {
            traffic,
            request,
            memory: None,
        };
        Self {
            response,
            permits: Some(permits),
            proof,
        }
    }
}

impl<F> Future for ReplyFuture<F>
where
    F: Future<Output = Result<Response<Body>, Infallible>> + Unpin,
{
    type Output = Result<Response<ReplyBody>, Infallible>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        let response = match &mut this.response {
            PendingResponse::Started(response) => response,
            PendingResponse::Deferred(start) => {
                let Some(start) = start.take() else {
                    return Poll::Pending;
                };
                let (response, permit) = start();
                if let Some(permits) = &mut this.permits {
                    permits.request = permit;
                }
                this.response = PendingResponse::Started(response);
                return self.poll(context);
            }
        };
        Pin::new(response).poll(context).map_ok(|response| {
            if let Some(proof) = this.proof.take() {
                proof.check(&response);
            }
            let (mut head, body) = response.into_parts();
            let mut permits = this.permits.take();
            if let Some(permits) = &mut permits {
                permits.memory = head.extensions.remove();
            }
            Response::from_parts(head, ReplyBody { body, permits })
        })
    }
}

/// The body of a reply.
pub(crate) struct ReplyBody {
    body: Body,
    permits: Option<ReplyPermits>,
}

impl HttpBody for ReplyBody {
    type Data = ReplyChunk;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<ReplyChunk>, Status>>> {
        let polled = Pin::new(&mut self.body).poll_frame(context);
        if polled.is_pending()
            && let Some(permits) = &mut self.permits
        {
            // A server stream may wait for its next event indefinitely, and then is not a
            // request in progress.
            permits.request = None;
        }
        polled.map_ok(|frame| frame.map_data(|bytes| self.chunk(bytes)))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl ReplyBody {
    /// Makes a chunk, which takes over the permits of the reply.
    fn chunk(&mut self, bytes: Bytes) -> ReplyChunk {
        let permits = self.permits.as_mut().map(|permits| {
            let memory = permits.memory.take();
            if let Some(memory) = &memory {
                memory.shrink_to(bytes.len());
            }
            ChunkPermits {
                _unsent: permits.traffic.unsent_reply(),
                _request: permits.request.take(),
                _memory: memory,
            }
        });
        ReplyChunk {
            bytes,
            _permits: permits,
        }
    }
}

/// A chunk of a body. hyper drops it once it has been written to the socket, or when its
/// stream or connection ends.
pub(crate) struct ReplyChunk {
    bytes: Bytes,
    _permits: Option<ChunkPermits>,
}

struct ChunkPermits {
    _unsent: UnsentReply,
    _request: Option<RequestPermit>,
    _memory: Option<ReplyReservation>,
}

impl Buf for ReplyChunk {
    fn remaining(&self) -> usize {
        self.bytes.remaining()
    }

    fn chunk(&self) -> &[u8] {
        self.bytes.chunk()
    }

    fn advance(&mut self, count: usize) {
        self.bytes.advance(count);
    }

    fn copy_to_bytes(&mut self, length: usize) -> Bytes {
        self.bytes.copy_to_bytes(length)
    }
}
