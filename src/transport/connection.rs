//! One connection: a byte stream with timeouts for each of its stages.

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

/// The first byte of a TLS connection: the content type of a handshake record (RFC 8446, 5.1).
const TLS_HANDSHAKE: u8 = 22;

/// The timeouts of a connection: of each stage, from the start of the connection, and of a
/// blocked write.
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
            Stage::FirstByte => self.first_byte,
            Stage::Handshake => self.handshake,
            Stage::Established => self.age,
        }
    }
}

/// The stage of a connection.
#[derive(PartialEq, Eq)]
enum Stage {
    /// The peer has sent no byte.
    FirstByte,
    /// The peer has sent part of an HTTP/2 preface or of a request head.
    Handshake,
    /// The server has replied, so the preface or the request was complete.
    Established,
}

impl Stage {
    /// The setting that limits the stage.
    fn setting(&self) -> &'static str {
        match self {
            Self::FirstByte => "first-byte-timeout",
            Self::Handshake => "handshake-timeout",
            Self::Established => "max-connection-age",
        }
    }
}

/// A byte stream that fails with `TimedOut` when a stage lasts too long: hyper would wait
/// indefinitely for the first byte or the rest of a preface.
pub(crate) struct Connection<S: ByteStream> {
    stream: S,
    stage: Stage,
    start: Instant,
    timeouts: Timeouts,
    deadline: Pin<Box<Sleep>>,
    /// Whether the last write was pending, since the peer does not read.
    is_blocked: bool,
    peer: Peer,
    request_seen: RequestSeen,
    received: ReceivedBytes,
    outgoing: OutgoingFrames,
    refusal_log: Arc<RefusalLog>,
    _permit: ConnectionPermit,
}

/// Whether a connection has received a complete request head. Clones share the state.
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
        permit: ConnectionPermit,
    ) -> Self {
        // Replies are small, and callers wait for them.
        stream.set_nodelay();
        let (start, stage) = (Instant::now(), Stage::FirstByte);
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
            _permit: permit,
        }
    }

    /// The peer of the connection.
    pub(crate) fn peer(&self) -> Peer {
        self.peer.clone()
    }

    /// The flag that the first request sets.
    pub(crate) fn request_seen(&self) -> RequestSeen {
        self.request_seen.clone()
    }

    /// The count of received bytes.
    pub(crate) fn received(&self) -> ReceivedBytes {
        self.received.clone()
    }

    fn enter(&mut self, stage: Stage) {
        let deadline = self.start + self.timeouts.of(&stage);
        self.deadline.as_mut().reset(deadline);
        self.stage = stage;
    }

    /// Applies the send timeout while writes are pending, else the timeout of the stage.
    fn set_blocked(&mut self, is_blocked: bool) {
        if self.is_blocked == is_blocked {
            return;
        }
        self.is_blocked = is_blocked;
        let stage_deadline = self.start + self.timeouts.of(&self.stage);
        self.deadline.as_mut().reset(match is_blocked {
            true => stage_deadline.min(Instant::now() + self.timeouts.send),
            false => stage_deadline,
        });
    }

    /// `Pending`, or `TimedOut` after the deadline of the stage.
    fn pending<T>(&mut self, context: &mut Context<'_>) -> Poll<io::Result<T>> {
        while self.deadline.as_mut().poll(context).is_ready() {
            // A request in progress has completed the handshake, although no reply has been
            // written yet.
            if self.is_blocked || self.stage == Stage::Established || !self.request_seen.get() {
                self.log_timeout();
                self.peer.traffic().abort();
                return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
            }
            self.enter(Stage::Established);
        }
        Poll::Pending
    }

    /// Counts hyper's refusals in the written bytes.
    fn count_refusals(&mut self, slices: &[IoSlice<'_>], written: &Poll<io::Result<usize>>) {
        let Poll::Ready(Ok(mut remaining)) = *written else {
            return;
        };
        for slice in slices {
            let sent = &slice[..remaining.min(slice.len())];
            remaining -= sent.len();
            self.outgoing.scan(sent, |kind| {
                let network = Network::of(self.peer.address().ip());
                self.refusal_log.record(kind, network);
            });
        }
    }

    /// Logs the timeout that closes the connection; at debug level, except for unread replies,
    /// since browsers open connections that they never use.
    fn log_timeout(&self) {
        let address = self.peer.address();
        if self.is_blocked {
            self.refusal_log
                .record(RefusalKind::Unread, Network::of(address.ip()));
        } else {
            let setting = self.stage.setting();
            tracing::debug!(peer = %address, setting, "a connection was closed: timeout");
        }
    }

    /// Updates the stage and its deadline after a write.
    fn after_write(
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
        self.received.record(new);
        if self.stage == Stage::FirstByte {
            self.enter(Stage::Handshake);
            if new.first() == Some(&TLS_HANDSHAKE) {
                let network = Network::of(self.peer.address().ip());
                self.refusal_log.record_tls(network);
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
        self.count_refusals(&[IoSlice::new(bytes)], &written);
        self.after_write(context, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(context, slices);
        self.count_refusals(slices, &written);
        self.after_write(context, written)
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

#[cfg(test)]
mod tests;
