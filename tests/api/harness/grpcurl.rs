//! The real grpcurl: the one that `TEST_GRPCURL` names, else an installed one, else none.

use std::path::PathBuf;

use super::{
    postgres::say_skipped,
    programs::{installed, named_by},
};

/// The program; `None` where there is none, said loudly.
pub fn find(what_is_skipped: &str) -> Option<PathBuf> {
    let found = named_by("TEST_GRPCURL").or_else(|| installed("grpcurl"));
    if found.is_none() {
        say_skipped(what_is_skipped, "Install grpcurl or set TEST_GRPCURL");
    }
    found
}
