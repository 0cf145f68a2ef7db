//! The permission to request a hash.

use bcrypt_lanes::JobOptions;

use super::Purpose;
use crate::deadline::{Deadline, Source};

/// A proof that the engine had room for a hash of this purpose a moment ago. Computing a
/// hash requires one, so that no use case reads the database for a refused hash.
#[derive(Clone, Copy, Debug)]
pub struct Admission {
    pub(super) purpose: Purpose,
    pub(super) deadline: Deadline,
}

impl Admission {
    /// The options of each hash computed with this admission.
    pub(super) fn job_options(self) -> JobOptions<Source> {
        job_options(self.purpose, self.deadline)
    }
}

/// The options of a hash of this purpose.
pub(super) fn job_options(purpose: Purpose, deadline: Deadline) -> JobOptions<Source> {
    JobOptions {
        class: purpose.class(),
        ..JobOptions::new(deadline.source(), deadline.instant())
    }
}
