//! The token of the internal listener.

use std::path::{Path, PathBuf};

use axum::http::{HeaderMap, header::AUTHORIZATION};
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;
use thiserror::Error;

use crate::secret_file::{self, SecretFileError};

/// The length of the shortest accepted token.
const LEAST_BYTES: usize = 32;

/// The length of the longest accepted token, which has to fit into a header.
const MOST_BYTES: usize = secret_file::MAX_BYTES;

/// The digest of the token, which suffices to recognise it.
#[derive(Clone)]
pub struct AdminToken([u8; 32]);

/// Why the token cannot be used, in one line for an operator.
#[derive(Debug, Error)]
#[error("cannot use --admin-token-file {}: {problem}", path.display())]
pub struct AdminTokenError {
    path: PathBuf,
    problem: Problem,
}

#[derive(Debug, Error)]
enum Problem {
    #[error("{0}")]
    Unreadable(SecretFileError),
    #[error(
        "it needs one line of {LEAST_BYTES} to {MOST_BYTES} printable ASCII characters without \
         spaces; openssl rand -hex 32 makes one"
    )]
    Unfit,
}

impl AdminToken {
    /// Reads the token from a file with restricted permissions.
    ///
    /// # Errors
    ///
    /// When the file cannot be read, others may read it, or its content is not a token.
    pub fn read(path: &Path) -> Result<Self, AdminTokenError> {
        Self::try_read(path).map_err(|problem| AdminTokenError {
            path: path.to_owned(),
            problem,
        })
    }

    fn try_read(path: &Path) -> Result<Self, Problem> {
        let text = secret_file::read(path).map_err(|error| match error {
            SecretFileError::Empty | SecretFileError::Unfit => Problem::Unfit,
            error => Problem::Unreadable(error),
        })?;
        let token = text.trim_ascii_end();
        let is_fit = (LEAST_BYTES..=MOST_BYTES).contains(&token.len())
            && token.bytes().all(|byte| byte.is_ascii_graphic());
        if is_fit {
            Ok(Self(Sha256::digest(token).into()))
        } else {
            Err(Problem::Unfit)
        }
    }

    /// Whether a request carries the token. The comparison takes constant time.
    pub(crate) fn is_in(&self, headers: &HeaderMap) -> bool {
        let mut values = headers.get_all(AUTHORIZATION).iter();
        let (Some(value), None) = (values.next(), values.next()) else {
            return false;
        };
        let Some((scheme, token)) = value.as_bytes().split_at_checked("Bearer ".len()) else {
            return false;
        };
        let digest: [u8; 32] = Sha256::digest(token).into();
        scheme.eq_ignore_ascii_case(b"Bearer ") && bool::from(digest.ct_eq(&self.0))
    }
}
