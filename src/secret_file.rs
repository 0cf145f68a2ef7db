//! Files with one secret each.

use std::{
    fs::File,
    io::{self, Read as _},
    os::unix::fs::PermissionsExt as _,
    path::Path,
};

use thiserror::Error;
use zeroize::Zeroizing;

/// The longest secret, in bytes.
pub const MAX_BYTES: usize = 1_024;

/// The reason why a file cannot be used, on one line, without its content.
#[derive(Debug, Error)]
pub enum SecretFileError {
    /// The file cannot be read.
    #[error("{0}")]
    Unreadable(#[from] io::Error),
    /// Every user of the machine can read it.
    #[error(
        "every user of this machine can read it; run chmod 600 on it, or where it is mounted from \
         a secret, set its mode there (Kubernetes: defaultMode: 0400, Docker: mode: 0400)"
    )]
    Open,
    /// It is empty.
    #[error("it is empty; write the secret into it, in one line")]
    Empty,
    /// It is too long, has more than one line, or is not a text.
    #[error("it needs one line of at most {MAX_BYTES} bytes, in UTF-8 and without NUL")]
    Unfit,
}

/// Reads a secret: the one line of a file, without its line ends.
///
/// # Errors
///
/// When there is no such line, or every user of the machine may read the file.
pub fn read(path: &Path) -> Result<Zeroizing<String>, SecretFileError> {
    let file = File::open(path)?;
    if file.metadata()?.permissions().mode() & 0o007 != 0 {
        return Err(SecretFileError::Open);
    }
    // One byte more than the limit, and a line end.
    let mut bytes = Zeroizing::new(Vec::with_capacity(MAX_BYTES + 3));
    file.take(MAX_BYTES as u64 + 3).read_to_end(&mut bytes)?;
    let line = str::from_utf8(&bytes).map_err(|_| SecretFileError::Unfit)?;
    let line = line.trim_end_matches(['\n', '\r']);
    if line.is_empty() {
        return Err(SecretFileError::Empty);
    }
    if line.len() > MAX_BYTES || line.contains(['\n', '\r', '\0']) {
        return Err(SecretFileError::Unfit);
    }
    Ok(Zeroizing::new(line.to_owned()))
}

#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions};

    use super::*;

    fn read_from(content: &[u8], mode: u32) -> Result<String, String> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("secret");
        fs::write(&path, content).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
        match read(&path) {
            Ok(secret) => Ok(secret.to_string()),
            Err(error) => Err(error.to_string()),
        }
    }

    #[test]
    fn a_secret_is_one_line() {
        for content in ["a secret ", "a secret \n", "a secret \r\n", "a secret \n\n"] {
            assert_eq!(
                read_from(content.as_bytes(), 0o600),
                Ok("a secret ".to_owned())
            );
        }
        let longest = "x".repeat(MAX_BYTES);
        assert_eq!(
            read_from(format!("{longest}\r\n").as_bytes(), 0o440),
            Ok(longest.clone())
        );
        for content in [
            format!("{longest}x").as_bytes(),
            format!("{longest}{longest}{longest}").as_bytes(),
            b"two\nlines",
            b"a\rb",
            b"a\0b",
            b"caf\xE9",
        ] {
            assert!(read_from(content, 0o600).unwrap_err().contains("one line"));
        }
        for content in [&b""[..], b"\n", b"\r\n"] {
            assert!(read_from(content, 0o600).unwrap_err().contains("empty"));
        }
        for mode in [0o644, 0o602, 0o601] {
            assert!(read_from(b"secret", mode).unwrap_err().contains("chmod"));
        }
        assert!(matches!(
            read(Path::new("/nothing/here")),
            Err(SecretFileError::Unreadable(_))
        ));
    }
}
