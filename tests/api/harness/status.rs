//! Expectations on errors, by code and reason.

use std::fmt::Debug;

use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt as _};

/// Expectations on a call's result.
pub trait Expect {
    /// Expects a failure with this code and reason; returns the details.
    #[track_caller]
    fn expect_refusal(self, code: Code, reason: &str) -> ErrorDetails;
}

impl<T> Expect for Result<T, Status> {
    #[track_caller]
    fn expect_refusal(self, code: Code, reason: &str) -> ErrorDetails {
        match self {
            Err(status) => refused(&status, code, reason),
            Ok(_) => panic!("accepted, {reason} was expected"),
        }
    }
}

/// Checks one status against the contract's table.
#[track_caller]
pub fn refused(status: &Status, code: Code, reason: &str) -> ErrorDetails {
    let details = status.get_error_details();
    let info = details
        .error_info()
        .unwrap_or_else(|| panic!("no ErrorInfo in {status:?}"));
    assert_eq!(
        (status.code(), info.reason.as_str(), info.domain.as_str()),
        (code, reason, "bienvenue"),
        "{status:?}"
    );
    assert!(!status.message().is_empty());
    let must_retry = matches!(code, Code::ResourceExhausted | Code::Unavailable);
    assert_eq!(details.retry_info().is_some(), must_retry, "{status:?}");
    details
}

/// The only invalid field in the details, and its description.
#[track_caller]
pub fn violation(details: &ErrorDetails) -> (&str, &str) {
    match details
        .bad_request()
        .map(|bad| bad.field_violations.as_slice())
    {
        Some([violation]) => (&violation.field, &violation.description),
        other => unexpected(&other),
    }
}

#[track_caller]
fn unexpected(found: &dyn Debug) -> ! {
    panic!("not one violation: {found:?}")
}
