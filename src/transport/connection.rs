//! One connection: its deadlines, and what its requests know of it.

use std::{
    io::{self, IoSlice},
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Instant, Sleep, sleep_until},
};

use super::{
    connection_limits::ConnectionPermit,
    head_timer::ReceivedBytes,
    outgoing_frames::OutgoingFrames,
    refusal_log::{RefusalKind, RefusalLog},
    stream::ByteStream,
};
use crate::{config::LimitSettings, domain::Network, peer::Peer};

/// The first byte of a TLS connection: the type of a handshake record (RFC 8446, 5.1).
const TLS_HANDSHAKE: u8 = 22;

/// How long each stage of a connection may last, from its start.
#[derive(Clone, Copy)]
pub(crate) struct Timeouts {
    first_byte: Duration,
    handshake: Duration,
    age: Duration,
    send: Duration,
}

impl Timeouts {
    pub(crate) fn new(limits: &LimitSettings) -> Self {
        Self {
            first_byte: limits.first_byte_timeout,
            handshake: limits.handshake_timeout,
            age: limits.max_connection_age + limits.max_connection_age_grace,
            send: limits.send_timeout,
        }
    }

    fn of(&self, stage: &Stage) -> Duration {
        match stage {
            Stage::Silent => self.first_byte,
            Stage::Handshake => self.handshake,
            Stage::Established => self.age,
        }
    }
}

/// How far a connection has come.
#[derive(PartialEq, Eq)]
enum Stage {
    /// The peer has said nothing.
    Silent,
    /// The peer has begun: an HTTP/2 preface, or the head of a request.
    Handshake,
    /// The server has answered, so the preface or the request was whole.
    Established,
}

impl Stage {
    /// The setting that limits it.
    fn setting(&self) -> &'static str {
        match self {
            Self::Silent => "first-byte-timeout",
            Self::Handshake => "handshake-timeout",
            Self::Established => "max-connection-age",
        }
    }
}

/// A TCP connection that ends itself when a stage lasts too long: hyper
/// would wait for ever for a peer that says nothing or half a preface.
pub(crate) struct Connection<S: ByteStream> {
    stream: S,
    stage: Stage,
    start: Instant,
    timeouts: Timeouts,
    deadline: Pin<Box<Sleep>>,
    /// Whether the socket takes nothing, because the peer reads nothing.
    is_blocked: bool,
    peer: Peer,
    request_seen: RequestSeen,
    received: ReceivedBytes,
    outgoing: OutgoingFrames,
    refusal_log: Arc<RefusalLog>,
    _place: ConnectionPermit,
}

/// Whether a connection has brought a whole request. Clones share the answer.
#[derive(Clone, Default)]
pub(crate) struct RequestSeen(Arc<AtomicBool>);

impl RequestSeen {
    pub(crate) fn set(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    pub(crate) fn get(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

impl<S: ByteStream> Connection<S> {
    pub(crate) fn new(
        stream: S,
        peer: Peer,
        timeouts: Timeouts,
        refusal_log: &Arc<RefusalLog>,
        place: ConnectionPermit,
    ) -> Self {
        // Replies are small and awaited.
        stream.set_nodelay();
        let (start, stage) = (Instant::now(), Stage::Silent);
        Self {
            stream,
            start,
            timeouts,
            deadline: Box::pin(sleep_until(start + timeouts.of(&stage))),
            stage,
            is_blocked: false,
            peer,
            request_seen: RequestSeen::default(),
            received: ReceivedBytes::default(),
            outgoing: OutgoingFrames::default(),
            refusal_log: Arc::clone(refusal_log),
            _place: place,
        }
    }

    /// Who is at the other end.
    pub(crate) fn peer(&self) -> Peer {
        self.peer.clone()
    }

    /// To be set by the first request.
    pub(crate) fn request_seen(&self) -> RequestSeen {
        self.request_seen.clone()
    }

    /// The count of the bytes that it has received.
    pub(crate) fn received(&self) -> ReceivedBytes {
        self.received.clone()
    }

    fn enter(&mut self, stage: Stage) {
        let deadline = self.start + self.timeouts.of(&stage);
        self.deadline.as_mut().reset(deadline);
        self.stage = stage;
    }

    /// Gives the peer some time to read, or, once it has read, that of its stage again.
    fn set_blocked(&mut self, is_blocked: bool) {
        if self.is_blocked == is_blocked {
            return;
        }
        self.is_blocked = is_blocked;
        let of_stage = self.start + self.timeouts.of(&self.stage);
        self.deadline.as_mut().reset(match is_blocked {
            true => of_stage.min(Instant::now() + self.timeouts.send),
            false => of_stage,
        });
    }

    /// `Pending`, or `TimedOut` once the stage's deadline has passed.
    fn pending<T>(&mut self, context: &mut Context<'_>) -> Poll<io::Result<T>> {
        while self.deadline.as_mut().poll(context).is_ready() {
            // A request that is being worked on has had its handshake, although
            // nothing has been written yet.
            if self.is_blocked || self.stage == Stage::Established || !self.request_seen.get() {
                self.tell_end();
                self.peer.traffic().abort();
                return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
            }
            self.enter(Stage::Established);
        }
        Poll::Pending
    }

    /// Counts the refusals of hyper in the bytes that were written.
    fn follow(&mut self, slices: &[IoSlice<'_>], written: &Poll<io::Result<usize>>) {
        let Poll::Ready(Ok(mut left)) = *written else {
            return;
        };
        for slice in slices {
            let sent = &slice[..left.min(slice.len())];
            left -= sent.len();
            self.outgoing.follow(sent, |met| {
                let network = Network::of(self.peer.address().ip());
                self.refusal_log.met(met, network);
            });
        }
    }

    /// Says why the connection ends: in a line of its own where only a debugger asks for it,
    /// since browsers open connections that they never use.
    fn tell_end(&self) {
        let address = self.peer.address();
        if self.is_blocked {
            self.refusal_log
                .met(RefusalKind::Unread, Network::of(address.ip()));
        } else {
            let setting = self.stage.setting();
            tracing::debug!(peer = %address, setting, "a connection was closed: its time is over");
        }
    }

    fn written(
        &mut self,
        context: &mut Context<'_>,
        written: Poll<io::Result<usize>>,
    ) -> Poll<io::Result<usize>> {
        self.set_blocked(written.is_pending());
        if written.is_pending() {
            return self.pending(context);
        }
        if self.stage != Stage::Established {
            self.enter(Stage::Established);
        }
        written
    }
}

impl<S: ByteStream> Drop for Connection<S> {
    fn drop(&mut self) {
        if self.peer.traffic().is_aborted() {
            self.stream.discard_unsent();
        }
    }
}

impl<S: ByteStream> AsyncRead for Connection<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(context, buffer);
        if read.is_pending() {
            return self.pending(context);
        }
        let new = &buffer.filled()[before..];
        self.received.note(new);
        if self.stage == Stage::Silent {
            self.enter(Stage::Handshake);
            if new.first() == Some(&TLS_HANDSHAKE) {
                let network = Network::of(self.peer.address().ip());
                self.refusal_log.began_with_tls(network);
            }
        }
        read
    }
}

impl<S: ByteStream> AsyncWrite for Connection<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.follow(&[IoSlice::new(bytes)], &written);
        self.written(context, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(context, slices);
        self.follow(slices, &written);
        self.written(context, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
