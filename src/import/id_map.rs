//! A file that says which id each user of the source has now.

use std::{
    fmt, fs,
    fs::{File, OpenOptions},
    io::{self, BufWriter, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use thiserror::Error;

use crate::{db::import::SourceId, domain::UserId};

/// A CSV file (RFC 4180) of two columns, readable by its owner alone. It is removed when
/// this is dropped, unless it is kept.
pub(super) struct IdMap {
    path: PathBuf,
    file: BufWriter<File>,
    is_kept: bool,
}

/// The file cannot be written.
#[derive(Debug, Error)]
#[error(
    "cannot write --id-map {}: {cause}; name a file that is not there yet, in a folder that is",
    path.display()
)]
pub struct IdMapError {
    path: PathBuf,
    #[source]
    cause: io::Error,
}

impl IdMap {
    /// Makes the file.
    ///
    /// # Errors
    ///
    /// When it is there already, or cannot be made.
    pub(super) fn create(path: &Path) -> Result<Self, IdMapError> {
        let made = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(path);
        let file = made.map_err(|cause| IdMapError {
            path: path.to_owned(),
            cause,
        })?;
        let mut map = Self {
            path: path.to_owned(),
            file: BufWriter::new(file),
            is_kept: false,
        };
        map.line(format_args!("source_id,user_id"))?;
        Ok(map)
    }

    /// Writes that a user of the source is a user here.
    pub(super) fn add(
        &mut self,
        source: Option<&SourceId>,
        user: UserId,
    ) -> Result<(), IdMapError> {
        let source = match source {
            Some(SourceId::Number(number)) => number.to_string(),
            Some(SourceId::Text(text)) => field(text),
            None => String::new(),
        };
        self.line(format_args!("{source},{}", user.0))
    }

    /// Has everything on disk.
    pub(super) fn finish(&mut self) -> Result<(), IdMapError> {
        let written = self
            .file
            .flush()
            .and_then(|()| self.file.get_ref().sync_all());
        written.map_err(|cause| self.failed(cause))
    }

    /// Leaves the file where it is.
    pub(super) fn keep(mut self) {
        self.is_kept = true;
    }

    fn line(&mut self, line: fmt::Arguments<'_>) -> Result<(), IdMapError> {
        let written = write!(self.file, "{line}\r\n");
        written.map_err(|cause| self.failed(cause))
    }

    fn failed(&self, cause: io::Error) -> IdMapError {
        IdMapError {
            path: self.path.clone(),
            cause,
        }
    }
}

impl Drop for IdMap {
    fn drop(&mut self) {
        if !self.is_kept {
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// A text as a field.
fn field(text: &str) -> String {
    if text.contains(['"', ',', '\r', '\n']) {
        format!("\"{}\"", text.replace('"', "\"\""))
    } else {
        text.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_map_is_csv_and_gone_unless_it_is_kept() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ids.csv");
        drop(IdMap::create(&path).unwrap());
        assert!(!path.exists());
        let mut map = IdMap::create(&path).unwrap();
        let text = |text: &str| SourceId::Text(text.to_owned());
        for (source, user) in [
            (Some(SourceId::Number(7)), 7),
            (Some(text("5f0c")), 8),
            (Some(text("a,\"b\"\n")), 9),
            (None, 10),
        ] {
            map.add(source.as_ref(), UserId(user)).unwrap();
        }
        map.finish().unwrap();
        map.keep();
        assert_eq!(
            fs::read_to_string(&path).unwrap(),
            "source_id,user_id\r\n7,7\r\n5f0c,8\r\n\"a,\"\"b\"\"\n\",9\r\n,10\r\n"
        );
        let there = IdMap::create(&path).err().unwrap().to_string();
        assert!(there.contains("not there yet"), "{there}");
    }
}
