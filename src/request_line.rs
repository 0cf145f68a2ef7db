//! The names by which the log recognises the lines about requests.

/// The name of log lines about requests that changed something, or failed because of the
/// service.
pub const REQUEST_LINE: &str = "request";

/// The name of log lines about all other requests, which are dropped first under load.
pub const EXPENDABLE_LINE: &str = "expendable request";
