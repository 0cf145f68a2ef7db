//! What time it is, for everyone who has to decide by it.

use std::sync::Arc;

use chrono::{DateTime, SubsecRound as _, Utc};

/// A source of the present time, passed to whoever needs it, so that a test
/// can move it. Cheap to clone.
#[derive(Clone)]
pub struct Clock(Arc<dyn Fn() -> DateTime<Utc> + Send + Sync>);

impl Clock {
    /// The machine's clock.
    pub fn system() -> Self {
        #[expect(
            clippy::disallowed_methods,
            reason = "the one place that asks the machine"
        )]
        Self::from_fn(Utc::now)
    }

    /// A clock that tells what `now` returns.
    pub fn from_fn(now: impl Fn() -> DateTime<Utc> + Send + Sync + 'static) -> Self {
        Self(Arc::new(now))
    }

    /// The present time, in whole microseconds: what both databases keep.
    pub fn now(&self) -> DateTime<Utc> {
        (self.0)().trunc_subsecs(6)
    }
}
