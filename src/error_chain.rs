//! The text of an error with its causes.

use std::error::Error;

use crate::domain::on_one_line;

/// An error and its causes on one line, for the log.
pub fn with_causes(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        next = cause.source();
    }
    on_one_line(&text)
}
