//! The limit on the time that a peer takes to read its replies.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use tokio::time::{self, Instant, Sleep};

use crate::peer::Traffic;

/// Resolves when a reply has been unsent for too long. It wakes its task by time alone, so
/// the connection's task polls it each time after replies were produced or written.
pub(crate) struct WriteTimeout {
    traffic: Arc<Traffic>,
    period: Duration,
    /// The end of the current period, while a reply is unsent.
    period_end: Option<Pin<Box<Sleep>>>,
    /// It has resolved, and does not resolve again.
    has_elapsed: bool,
}

impl WriteTimeout {
    /// `timeout` is the longest time for which a reply may be unsent.
    pub(crate) fn new(traffic: Arc<Traffic>, timeout: Duration) -> Self {
        Self {
            traffic,
            period: Traffic::period(timeout),
            period_end: None,
            has_elapsed: false,
        }
    }
}

impl Future for WriteTimeout {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let this = &mut *self;
        while !this.has_elapsed {
            let Some(end) = &mut this.period_end else {
                // The usual case: all replies have been sent already.
                if !this.traffic.has_unsent() {
                    return Poll::Pending;
                }
                this.period_end = Some(Box::pin(time::sleep(this.period)));
                continue;
            };
            if end.as_mut().poll(context).is_pending() {
                return Poll::Pending;
            }
            if this.traffic.end_period() {
                this.has_elapsed = true;
                return Poll::Ready(());
            }
            if this.traffic.has_unsent() {
                end.as_mut().reset(Instant::now() + this.period);
            } else {
                this.period_end = None;
            }
        }
        Poll::Pending
    }
}
