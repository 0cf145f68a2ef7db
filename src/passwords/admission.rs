//! Leave to ask for a hash.

use super::{Purpose, engine::Demand};
use crate::deadline::Deadline;

/// Says that there was room for a hash of this purpose a moment ago. Without it, no hash
/// is computed: so no use case reads the database for a hash that is refused.
#[derive(Clone, Copy, Debug)]
pub struct Admission {
    pub(super) purpose: Purpose,
    pub(super) deadline: Deadline,
}

impl Admission {
    /// What is asked of the engine with each hash.
    pub(super) fn demand(self) -> Demand {
        Demand {
            purpose: self.purpose,
            deadline: self.deadline,
            only_if_idle: false,
        }
    }
}
