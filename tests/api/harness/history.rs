//! A record of calls to several nodes, with their times and outcomes.

mod checker;

use std::{
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use tonic::{Code, Status};
use tonic_types::StatusExt as _;

pub use checker::{Report, Rules, check};

/// One call. Both times are from the callers' clock: `began` was read before the first byte
/// was sent, `ended` after the reply had arrived.
#[derive(Clone, Debug)]
pub struct Operation {
    pub node: usize,
    pub began: Duration,
    pub ended: Duration,
    pub request: Request,
    pub outcome: Outcome,
}

/// A request. Users and sessions have numbers assigned by the tests, and a user's passwords
/// have increasing versions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    Login {
        user: usize,
        version: u32,
        opened: Option<usize>,
    },
    Check {
        session: usize,
    },
    Logout {
        session: usize,
    },
    /// Ends all sessions of the user except the caller's.
    RevokeOthers {
        user: usize,
        by: usize,
    },
    /// Changes this version to the next; ends all sessions of the user and opens one.
    ChangePassword {
        user: usize,
        version: u32,
        by: usize,
        opened: Option<usize>,
    },
}

/// The outcome of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    Done,
    SessionInvalid,
    InvalidCredentials,
    /// Refused without an effect.
    Overloaded,
    /// With an unknown effect, possibly a later one.
    Unavailable,
    /// An unexpected outcome.
    Other(String),
}

impl From<&Status> for Outcome {
    fn from(status: &Status) -> Self {
        let info = status.get_details_error_info();
        let reason = info.as_ref().map(|info| info.reason.as_str());
        match (status.code(), reason) {
            (Code::Unauthenticated, Some("SESSION_INVALID")) => Self::SessionInvalid,
            (Code::Unauthenticated, Some("INVALID_CREDENTIALS")) => Self::InvalidCredentials,
            (Code::ResourceExhausted, Some("OVERLOADED")) => Self::Overloaded,
            (Code::Unavailable, Some("UNAVAILABLE")) => Self::Unavailable,
            _ => Self::Other(format!("{status:?}")),
        }
    }
}

/// All operations, in no order.
pub struct History {
    start: Instant,
    operations: Mutex<Vec<Operation>>,
}

impl History {
    pub fn begin() -> Self {
        Self {
            start: Instant::now(),
            operations: Mutex::default(),
        }
    }

    /// The time on the callers' clock.
    pub fn now(&self) -> Duration {
        self.start.elapsed()
    }

    pub fn add(&self, operation: Operation) {
        self.operations
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(operation);
    }

    /// The number of operations that meet a condition.
    pub fn count(&self, is_one: impl Fn(&Operation) -> bool) -> usize {
        let operations = self.operations.lock().expect("the operations");
        operations.iter().filter(|one| is_one(one)).count()
    }

    pub fn check(&self, rules: Rules) -> Report {
        check(&self.operations.lock().expect("the operations"), rules)
    }
}
