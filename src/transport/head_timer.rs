//! The timeouts of an HTTP/1.1 connection that waits for the head of a request.
//!
//! hyper has a single timeout for the head, which starts when the previous response has been
//! sent. The timer given to hyper here distinguishes a partly received head from an idle
//! connection, kept open by a proxy or client for a later request.

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

/// The last bytes of a blank line, which ends a head and a chunked body.
const BLANK_LINE: [u8; 3] = *b"\n\r\n";
const BARE_BLANK_LINE: [u8; 2] = *b"\n\n";

/// The bytes that a connection has received. Clones share the count; all are used on the
/// connection's task.
#[derive(Clone, Default)]
pub(crate) struct ReceivedBytes(Arc<Received>);

#[derive(Default)]
struct Received {
    bytes: AtomicUsize,
    /// The last three bytes.
    tail: AtomicU32,
    has_request: AtomicBool,
    /// Whether the last request has a body with a length, whose end its bytes do not mark.
    has_length: AtomicBool,
}

impl ReceivedBytes {
    /// Records received bytes.
    pub(crate) fn record(&self, bytes: &[u8]) {
        let received = &*self.0;
        let end = &bytes[bytes.len().saturating_sub(3)..];
        let tail = end.iter().fold(received.tail.load(Relaxed), |tail, byte| {
            tail << 8 | u32::from(*byte)
        });
        received.tail.store(tail, Relaxed);
        let total = received.bytes.load(Relaxed).wrapping_add(bytes.len());
        received.bytes.store(total, Relaxed);
    }

    /// Records the head of an HTTP/1.1 request.
    pub(crate) fn record_head(&self, request: &Request<Incoming>) {
        let length = request.body().size_hint().exact();
        let has_length = length.is_some_and(|length| length > 0);
        self.0.has_length.store(has_length, Relaxed);
        self.0.has_request.store(true, Relaxed);
    }

    fn bytes(&self) -> usize {
        self.0.bytes.load(Relaxed)
    }

    /// Whether the connection has received a request and, as far as is known, no byte after
    /// it. Bytes that arrived together with the end of a body with a length go unnoticed
    /// until more bytes arrive.
    fn is_idle(&self) -> bool {
        let [_, tail @ ..] = self.0.tail.load(Relaxed).to_be_bytes();
        let ends_request = self.0.has_length.load(Relaxed)
            || tail == BLANK_LINE
            || tail.ends_with(&BARE_BLANK_LINE);
        self.0.has_request.load(Relaxed) && ends_request
    }
}

/// The timer of one HTTP/1.1 connection.
pub(crate) struct HeadTimer {
    received: ReceivedBytes,
    head_timeout: Duration,
    idle_timeout: Duration,
}

impl HeadTimer {
    pub(crate) fn new(received: ReceivedBytes, limits: &LimitSettings) -> Self {
        Self {
            received,
            head_timeout: limits.handshake_timeout,
            idle_timeout: limits.idle_timeout,
        }
    }
}

impl Timer for HeadTimer {
    fn sleep(&self, duration: Duration) -> Pin<Box<dyn Sleep>> {
        self.sleep_until(Instant::now() + duration)
    }

    /// hyper calls this when it begins to wait for a head; it may have read part of that head
    /// together with the previous request.
    fn sleep_until(&self, deadline: Instant) -> Pin<Box<dyn Sleep>> {
        let is_idle = self.received.is_idle();
        let end = match is_idle {
            true => Instant::now() + self.idle_timeout,
            false => deadline,
        };
        Box::pin(HeadSleep {
            received: self.received.clone(),
            head_timeout: self.head_timeout,
            idle_since: is_idle.then(|| self.received.bytes()),
            sleep: Box::pin(time::sleep_until(end.into())),
        })
    }
}

/// The timeout of one head. hyper polls it after each attempt to read.
struct HeadSleep {
    received: ReceivedBytes,
    head_timeout: Duration,
    /// The count of received bytes at the start of the wait, until more arrive.
    idle_since: Option<usize>,
    sleep: Pin<Box<time::Sleep>>,
}

impl Sleep for HeadSleep {}

impl Future for HeadSleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        if self
            .idle_since
            .is_some_and(|count| count != self.received.bytes())
        {
            self.idle_since = None;
            let end = time::Instant::now() + self.head_timeout;
            self.sleep.as_mut().reset(end);
        }
        let elapsed = self.sleep.as_mut().poll(context);
        if elapsed.is_ready() {
            let setting = match self.idle_since {
                Some(_) => "idle-timeout",
                None => "handshake-timeout",
            };
            tracing::debug!(setting, "an HTTP/1.1 connection was closed: timeout");
        }
        elapsed
    }
}
