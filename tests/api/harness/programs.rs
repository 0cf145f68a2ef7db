//! External programs used by tests.

use std::{
    env,
    path::{Path, PathBuf},
};

/// The program in a variable; the file has to exist.
pub fn named_by(variable: &str) -> Option<PathBuf> {
    let program = env::var_os(variable)?;
    assert!(Path::new(&program).exists(), "{variable} names no file");
    Some(program.into())
}

/// An installed program, also in /usr/sbin, which may not be in a user's path.
pub fn installed(name: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path)
        .chain(["/usr/sbin".into()])
        .map(|folder| folder.join(name))
        .find(|program| program.exists())
}
