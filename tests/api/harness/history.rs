//! What was asked of several nodes, and when, and what came of it.

mod judge;

use std::{
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use tonic::{Code, Status};
use tonic_types::StatusExt as _;

pub use judge::{Rules, Verdict, judge};

/// One call. The times are of one clock, that of the callers: `began` was read
/// before the first byte was sent, `ended` when the answer had arrived.
#[derive(Clone, Debug)]
pub struct Operation {
    pub node: usize,
    pub began: Duration,
    pub ended: Duration,
    pub request: Request,
    pub outcome: Outcome,
}

/// What was asked. Users and sessions go by numbers of the tests' own; a user's
/// passwords by versions, which count up.
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
    /// Ends all sessions of the user but the one that asks.
    RevokeOthers {
        user: usize,
        by: usize,
    },
    /// From this version to the next; ends all sessions of the user and opens one.
    ChangePassword {
        user: usize,
        version: u32,
        by: usize,
        opened: Option<usize>,
    },
}

/// What came of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    Done,
    SessionInvalid,
    InvalidCredentials,
    /// Refused before anything was done.
    Overloaded,
    /// Done, or not, or still to be done.
    Unavailable,
    /// What is never due.
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

/// All of them, in no order.
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

    /// How many there are of a kind.
    pub fn count(&self, is_one: impl Fn(&Operation) -> bool) -> usize {
        let operations = self.operations.lock().expect("the operations");
        operations.iter().filter(|one| is_one(one)).count()
    }

    pub fn judge(&self, rules: Rules) -> Verdict {
        judge(&self.operations.lock().expect("the operations"), rules)
    }
}
