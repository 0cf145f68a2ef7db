//! When a connection has had its time to take what was sent to it.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use tokio::time::{self, Instant, Sleep};

use crate::peer::Traffic;

/// Resolves when a reply of a connection has waited to be sent for too long. It has to be
/// polled after replies were made and sent, on the task that does so: it wakes that task
/// for nothing but the time.
pub(crate) struct WriteTimeout {
    traffic: Arc<Traffic>,
    period: Duration,
    /// The end of the present period, while something waits.
    end: Option<Pin<Box<Sleep>>>,
    /// It has resolved, and does not again.
    is_over: bool,
}

impl WriteTimeout {
    /// For replies that may wait for so long.
    pub(crate) fn new(traffic: Arc<Traffic>, longest: Duration) -> Self {
        Self {
            traffic,
            period: Traffic::period(longest),
            end: None,
            is_over: false,
        }
    }
}

impl Future for WriteTimeout {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let this = &mut *self;
        while !this.is_over {
            let Some(end) = &mut this.end else {
                // The usual case: all replies have been sent by the time of this.
                if !this.traffic.has_unsent() {
                    return Poll::Pending;
                }
                this.end = Some(Box::pin(time::sleep(this.period)));
                continue;
            };
            if end.as_mut().poll(context).is_pending() {
                return Poll::Pending;
            }
            if this.traffic.end_period() {
                this.is_over = true;
                return Poll::Ready(());
            }
            if this.traffic.has_unsent() {
                end.as_mut().reset(Instant::now() + this.period);
            } else {
                this.end = None;
            }
        }
        Poll::Pending
    }
}
