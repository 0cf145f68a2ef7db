//! Replies on their way to the socket. A request stays in progress until the last byte
//! of its reply has been handed over, and until then the connection knows that a reply
//! waits.

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

/// The answer to a request, which is in progress until the reply has been sent.
pub(crate) struct ReplyFuture<F> {
    answer: Answer<F>,
    held: Option<ReplyPermits>,
    proof: Option<CallerProof>,
}

enum Answer<F> {
    Begun(F),
    /// It begins when its turn comes; there until then.
    Later(Option<Begin<F>>),
}

/// Begins an answer, and counts its request in where its connection has a share left.
type Begin<F> = Box<dyn FnOnce() -> (F, Option<RequestPermit>) + Send>;

/// What a reply holds while it is made and sent.
struct ReplyPermits {
    traffic: Arc<Traffic>,
    /// None for a request that its connection had no share left for.
    permit: Option<RequestPermit>,
    room: Option<ReplyReservation>,
}

impl<F> ReplyFuture<F> {
    /// The answer to a request of a connection with this traffic, and what its success
    /// would show.
    pub(crate) fn new(
        answer: F,
        traffic: Arc<Traffic>,
        permit: RequestPermit,
        proof: Option<CallerProof>,
    ) -> Self {
        Self::of(Answer::Begun(answer), traffic, Some(permit), proof)
    }

    /// The same of a request that came while its connection had its share in progress.
    /// By its turn those are gone that the caller has given up in favour of it: their
    /// streams run on the same task.
    pub(crate) fn later(
        begin: Begin<F>,
        traffic: Arc<Traffic>,
        proof: Option<CallerProof>,
    ) -> Self {
        Self::of(Answer::Later(Some(begin)), traffic, None, proof)
    }

    fn of(
        answer: Answer<F>,
        traffic: Arc<Traffic>,
        permit: Option<RequestPermit>,
        proof: Option<CallerProof>,
    ) -> Self {
        let held = ReplyPermits {
            traffic,
            permit,
            room: None,
        };
        Self {
            answer,
            held: Some(held),
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
        let answer = match &mut this.answer {
            Answer::Begun(answer) => answer,
            Answer::Later(begin) => {
                let Some(begin) = begin.take() else {
                    return Poll::Pending;
                };
                let (answer, permit) = begin();
                if let Some(held) = &mut this.held {
                    held.permit = permit;
                }
                this.answer = Answer::Begun(answer);
                return self.poll(context);
            }
        };
        Pin::new(answer).poll(context).map_ok(|response| {
            if let Some(proof) = this.proof.take() {
                proof.note(&response);
            }
            let (mut head, body) = response.into_parts();
            let mut held = this.held.take();
            if let Some(held) = &mut held {
                held.room = head.extensions.remove();
            }
            Response::from_parts(head, ReplyBody { body, held })
        })
    }
}

/// The body of a reply.
pub(crate) struct ReplyBody {
    body: Body,
    held: Option<ReplyPermits>,
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
            && let Some(held) = &mut self.held
        {
            // A stream waits for something to tell. That may take for ever, and is no
            // request in progress.
            held.permit = None;
        }
        polled.map_ok(|frame| frame.map_data(|bytes| self.part(bytes)))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl ReplyBody {
    /// Some bytes to be sent, which hold what the reply holds from now on.
    fn part(&mut self, bytes: Bytes) -> ReplyChunk {
        let waiting = self.held.as_mut().map(|held| {
            let room = held.room.take();
            if let Some(room) = &room {
                room.shrink_to(bytes.len());
            }
            Waiting {
                _reply: held.traffic.unsent_reply(),
                _permit: held.permit.take(),
                _room: room,
            }
        });
        ReplyChunk {
            bytes,
            _waiting: waiting,
        }
    }
}

/// A part of a body. It is dropped by hyper when it has been written to the socket, or
/// when its stream or connection is gone.
pub(crate) struct ReplyChunk {
    bytes: Bytes,
    _waiting: Option<Waiting>,
}

struct Waiting {
    _reply: UnsentReply,
    _permit: Option<RequestPermit>,
    _room: Option<ReplyReservation>,
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
