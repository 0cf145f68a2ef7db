//! The real grpcurl: the one that `TEST_GRPCURL` names, else an installed one, else none.

use std::{
    env,
    path::{Path, PathBuf},
};

use super::postgres::say_skipped;

/// The program; `None` where there is none, said loudly.
pub fn find(what_is_skipped: &str) -> Option<PathBuf> {
    if let Some(program) = env::var_os("TEST_GRPCURL") {
        assert!(Path::new(&program).exists(), "TEST_GRPCURL names no file");
        return Some(program.into());
    }
    let path = env::var_os("PATH").unwrap_or_default();
    let found = env::split_paths(&path)
        .map(|folder| folder.join("grpcurl"))
        .find(|program| program.exists());
    if found.is_none() {
        say_skipped(what_is_skipped, "Install grpcurl or set TEST_GRPCURL");
    }
    found
}
