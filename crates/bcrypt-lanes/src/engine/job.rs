//! Jobs in a queue, and the replies to their callers.

use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use super::EngineError;
use crate::kernel::{Digest, Input};

/// The sender of a job's result. Closed when the caller has dropped its future.
pub(super) type Reply<T> = oneshot::Sender<Result<T, EngineError>>;

/// One computation.
pub(super) trait Job: Send + 'static {
    /// Whether the caller has dropped its future.
    fn is_abandoned(&self) -> bool;

    /// Tells the caller that the job will not be computed.
    fn refuse(self, retry_after: Duration);
}

/// A job in the queue.
pub(super) struct QueuedJob<J> {
    pub(super) job: J,
    /// In the pool's units of work.
    pub(super) work: u64,
    pub(super) since: Instant,
}

/// The computation of one bcrypt digest.
pub(super) struct BcryptJob {
    pub(super) input: Input,
    pub(super) reply: Reply<Digest>,
}

impl Job for BcryptJob {
    fn is_abandoned(&self) -> bool {
        self.reply.is_closed()
    }

    fn refuse(self, retry_after: Duration) {
        refuse(self.reply, retry_after);
    }
}

/// A function that runs from beginning to end on one thread.
pub(super) struct OneshotJob(Box<dyn Function>);

/// Hides the type of the result.
trait Function: Send {
    fn is_abandoned(&self) -> bool;
    fn refuse(self: Box<Self>, retry_after: Duration);
    fn run(self: Box<Self>);
}

struct FunctionWithReply<F, T> {
    compute: F,
    reply: Reply<T>,
}

impl<F, T> Function for FunctionWithReply<F, T>
where
    F: FnOnce() -> T + Send,
    T: Send,
{
    fn is_abandoned(&self) -> bool {
        self.reply.is_closed()
    }

    fn refuse(self: Box<Self>, retry_after: Duration) {
        refuse(self.reply, retry_after);
    }

    fn run(self: Box<Self>) {
        let result = (self.compute)();
        let _ = self.reply.send(Ok(result));
    }
}

impl OneshotJob {
    pub(super) fn new<T: Send + 'static>(
        compute: impl FnOnce() -> T + Send + 'static,
        reply: Reply<T>,
    ) -> Self {
        Self(Box::new(FunctionWithReply { compute, reply }))
    }

    pub(super) fn run(self) {
        self.0.run();
    }
}

impl Job for OneshotJob {
    fn is_abandoned(&self) -> bool {
        self.0.is_abandoned()
    }

    fn refuse(self, retry_after: Duration) {
        self.0.refuse(retry_after);
    }
}

fn refuse<T>(reply: Reply<T>, retry_after: Duration) {
    let _ = reply.send(Err(EngineError::Overloaded { retry_after }));
}
