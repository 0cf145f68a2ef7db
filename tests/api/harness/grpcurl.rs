//! The real grpcurl: that of `TEST_GRPCURL`, else an installed one, else none.

use std::path::PathBuf;

use super::{
    postgres::say_skipped,
    programs::{installed, named_by},
};

/// The program; `None`, with a message, where it is not installed.
pub fn find(what_is_skipped: &str) -> Option<PathBuf> {
    let found = named_by("TEST_GRPCURL").or_else(|| installed("grpcurl"));
    if found.is_none() {
        say_skipped(what_is_skipped, "Install grpcurl or set TEST_GRPCURL");
    }
    found
}
