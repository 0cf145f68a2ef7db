//! A file with the old and the new id of each imported user.

use std::{
    fmt, fs,
    fs::{File, OpenOptions},
    io::{self, BufWriter, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use thiserror::Error;

use crate::{db::import::SourceId, domain::UserId};

/// A CSV file (RFC 4180) with two columns, readable by its owner alone. It is removed when this
/// is dropped without [`IdMap::keep`].
pub(super) struct IdMap {
    path: PathBuf,
    file: BufWriter<File>,
    is_kept: bool,
}

/// The file cannot be written.
#[derive(Debug, Error)]
#[error(
    "cannot write --id-map {}: {cause}; name a file that does not exist yet, in an existing folder",
    path.display()
)]
pub struct IdMapError {
    path: PathBuf,
    #[source]
    cause: io::Error,
}

impl IdMap {
    /// Creates the file.
    ///
    /// # Errors
    ///
    /// When it exists already, or cannot be created.
    pub(super) fn create(path: &Path) -> Result<Self, IdMapError> {
        let created = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(path);
        let file = created.map_err(|cause| IdMapError {
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

    /// Adds the ids of a user in the source and in the target.
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

    /// Writes the file to disk.
    pub(super) fn finish(&mut self) -> Result<(), IdMapError> {
        let written = self
            .file
            .flush()
            .and_then(|()| self.file.get_ref().sync_all());
        written.map_err(|cause| self.failed(cause))
    }

    /// Keeps the file.
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

/// Quotes a text as a CSV field where necessary.
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
    fn a_map_is_csv_and_removed_unless_kept() {
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
        let error = IdMap::create(&path).err().unwrap().to_string();
        assert!(error.contains("does not exist yet"), "{error}");
    }
}
