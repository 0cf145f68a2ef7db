//! How long an HTTP/1.1 connection waits for the head of a request.
//!
//! hyper has one time for that, which begins as soon as the response before has been sent.
//! So the timer that hyper is given tells the two waits apart: for a head that has begun,
//! and for one that has not, on a connection that its proxy or client keeps for later.

use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering::Relaxed},
    },
    task::{Context, Poll},
    time::{Duration, Instant},
};

use axum::{body::HttpBody as _, http::Request};
use hyper::{
    body::Incoming,
    rt::{Sleep, Timer},
};
use tokio::time;

use crate::config::LimitSettings;

/// The ends of a blank line, which ends a head and a chunked body.
const BLANK_LINE: [u8; 3] = *b"\n\r\n";
const BARE_BLANK_LINE: [u8; 2] = *b"\n\n";

/// The bytes that a connection has received. Clones share the count, all on the task of the
/// connection.
#[derive(Clone, Default)]
pub(crate) struct ReceivedBytes(Arc<State>);

#[derive(Default)]
struct State {
    bytes: AtomicUsize,
    /// The last three bytes.
    tail: AtomicU32,
    has_request: AtomicBool,
    /// Whether the last request has a body whose end does not show in its bytes.
    has_length: AtomicBool,
}

impl ReceivedBytes {
    /// Notes some bytes.
    pub(crate) fn note(&self, bytes: &[u8]) {
        let state = &*self.0;
        let end = &bytes[bytes.len().saturating_sub(3)..];
        let tail = end.iter().fold(state.tail.load(Relaxed), |tail, byte| {
            tail << 8 | u32::from(*byte)
        });
        state.tail.store(tail, Relaxed);
        let all = state.bytes.load(Relaxed).wrapping_add(bytes.len());
        state.bytes.store(all, Relaxed);
    }

    /// Notes the head of an HTTP/1.1 request.
    pub(crate) fn note_head(&self, request: &Request<Incoming>) {
        let length = request.body().size_hint().exact();
        let has_length = length.is_some_and(|length| length > 0);
        self.0.has_length.store(has_length, Relaxed);
        self.0.has_request.store(true, Relaxed);
    }

    fn bytes(&self) -> usize {
        self.0.bytes.load(Relaxed)
    }

    /// Whether the connection has had a request, and no byte is known to have come after
    /// it. Bytes after a body with a length do not show: until more come, they count for
    /// none.
    fn is_idle(&self) -> bool {
        let [_, tail @ ..] = self.0.tail.load(Relaxed).to_be_bytes();
        let ends = self.0.has_length.load(Relaxed)
            || tail == BLANK_LINE
            || tail.ends_with(&BARE_BLANK_LINE);
        self.0.has_request.load(Relaxed) && ends
    }
}

/// The timer of one HTTP/1.1 connection.
pub(crate) struct HeadTimer {
    received: ReceivedBytes,
    head: Duration,
    idle: Duration,
}

impl HeadTimer {
    pub(crate) fn new(received: ReceivedBytes, limits: &LimitSettings) -> Self {
        Self {
            received,
            head: limits.handshake_timeout,
            idle: limits.idle_timeout,
        }
    }
}

impl Timer for HeadTimer {
    fn sleep(&self, duration: Duration) -> Pin<Box<dyn Sleep>> {
        self.sleep_until(Instant::now() + duration)
    }

    /// hyper asks for this when it begins to wait for a head; a part of the head that it
    /// has read by then came along with the request before.
    fn sleep_until(&self, deadline: Instant) -> Pin<Box<dyn Sleep>> {
        let is_idle = self.received.is_idle();
        let end = match is_idle {
            true => Instant::now() + self.idle,
            false => deadline,
        };
        Box::pin(HeadSleep {
            received: self.received.clone(),
            head: self.head,
            idle_at: is_idle.then(|| self.received.bytes()),
            end: Box::pin(time::sleep_until(end.into())),
        })
    }
}

/// The time of one head. hyper looks at it after each attempt to read.
struct HeadSleep {
    received: ReceivedBytes,
    head: Duration,
    /// How much had been received when the wait began, as long as that is all.
    idle_at: Option<usize>,
    end: Pin<Box<time::Sleep>>,
}

impl Sleep for HeadSleep {}

impl Future for HeadSleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        if self.idle_at.is_some_and(|at| at != self.received.bytes()) {
            self.idle_at = None;
            let end = time::Instant::now() + self.head;
            self.end.as_mut().reset(end);
        }
        let end = self.end.as_mut().poll(context);
        if end.is_ready() {
            let setting = match self.idle_at {
                Some(_) => "idle-timeout",
                None => "handshake-timeout",
            };
            tracing::debug!(
                setting,
                "an HTTP/1.1 connection was closed: its time is over"
            );
        }
        end
    }
}
