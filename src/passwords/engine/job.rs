//! What waits for a core, and how whoever asked hears of it.

use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use super::EngineError;
use crate::passwords::kernel::{Digest, Input};

/// Where a result goes. It is closed once nobody waits for it.
pub(super) type Reply<T> = oneshot::Sender<Result<T, EngineError>>;

/// One computation.
pub(super) trait Job: Send + 'static {
    /// Whether nobody waits for its result any more.
    fn is_abandoned(&self) -> bool;

    /// Tells its caller that it will not be done.
    fn refuse(self, retry_after: Duration);
}

/// A computation in the queue.
pub(super) struct Pending<J> {
    pub(super) job: J,
    /// In the units that its pool counts in.
    pub(super) work: u64,
    pub(super) since: Instant,
}

/// One bcrypt digest.
pub(super) struct BcryptJob {
    pub(super) input: Input,
    pub(super) reply: Reply<Digest>,
}

impl Job for BcryptJob {
    fn is_abandoned(&self) -> bool {
        self.reply.is_closed()
    }

    fn refuse(self, retry_after: Duration) {
        let _ = self
            .reply
            .send(Err(EngineError::Overloaded { retry_after }));
    }
}

/// Anything else, done at one go.
pub(super) struct WholeJob(Box<dyn Whole>);

trait Whole: Send {
    fn is_abandoned(&self) -> bool;
    fn refuse(self: Box<Self>, retry_after: Duration);
    fn run(self: Box<Self>);
}

struct Closure<F, T> {
    compute: F,
    reply: Reply<T>,
}

impl<F, T> Whole for Closure<F, T>
where
    F: FnOnce() -> T + Send,
    T: Send,
{
    fn is_abandoned(&self) -> bool {
        self.reply.is_closed()
    }

    fn refuse(self: Box<Self>, retry_after: Duration) {
        let _ = self
            .reply
            .send(Err(EngineError::Overloaded { retry_after }));
    }

    fn run(self: Box<Self>) {
        let result = (self.compute)();
        let _ = self.reply.send(Ok(result));
    }
}

impl WholeJob {
    pub(super) fn new<T: Send + 'static>(
        compute: impl FnOnce() -> T + Send + 'static,
        reply: Reply<T>,
    ) -> Self {
        Self(Box::new(Closure { compute, reply }))
    }

    pub(super) fn run(self) {
        self.0.run();
    }
}

impl Job for WholeJob {
    fn is_abandoned(&self) -> bool {
        self.0.is_abandoned()
    }

    fn refuse(self, retry_after: Duration) {
        self.0.refuse(retry_after);
    }
}
