use std::{
    fmt,
    net::SocketAddr,
    path::{Path, PathBuf},
};

use clap::Args;
use sha2::{Digest as _, Sha256};

use super::network;
use crate::secret_file::{self, MAX_BYTES, SecretFileError};

/// The length of the shortest accepted token.
const MIN_BYTES: usize = 32;

/// The internal listener, for your own services.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Internal listener")]
pub struct AdminSettings {
    /// IP address and port of the internal listener, where your own services watch
    /// revocations; needs admin-token-file; no TLS [default: none]
    #[arg(
        long,
        env = "BIENVENUE_ADMIN_LISTEN",
        value_name = "ADDRESS",
        value_parser = network::address
    )]
    pub admin_listen: Option<SocketAddr>,

    /// File with the token of the internal listener's callers: one line of at least 32
    /// characters, not readable by every user [default: none]
    #[arg(long, env = "BIENVENUE_ADMIN_TOKEN_FILE", value_name = "PATH")]
    pub admin_token_file: Option<PathBuf>,

    #[arg(skip)]
    token: Option<TokenDigest>,
}

/// The SHA-256 of the token, which suffices to recognise it: the token itself does not stay in
/// memory.
#[derive(Clone, Copy)]
struct TokenDigest([u8; 32]);

impl fmt::Debug for TokenDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokenDigest(…)")
    }
}

impl AdminSettings {
    /// Reads the token from its file.
    pub(super) fn read_token(&mut self) -> Result<(), String> {
        self.token = match &self.admin_token_file {
            Some(file) => Some(token_digest(file)?),
            None => None,
        };
        Ok(())
    }

    pub(super) fn validate(&self) -> Result<(), String> {
        match (&self.admin_listen, &self.admin_token_file) {
            (Some(_), None) => Err(
                "--admin-listen is given without --admin-token-file: write a token into a file \
                 (openssl rand -hex 32), since every caller has to send it"
                    .to_owned(),
            ),
            (None, Some(_)) => Err(
                "--admin-token-file is given without --admin-listen: write an address too, such \
                 as --admin-listen 127.0.0.1:50052, or leave both out"
                    .to_owned(),
            ),
            _ => Ok(()),
        }
    }

    /// The address of the listener, and the SHA-256 of its token, after it was read from its
    /// file.
    pub fn listener(&self) -> Option<(SocketAddr, [u8; 32])> {
        self.admin_listen.zip(self.token.map(|token| token.0))
    }
}

/// The digest of the token in a file. The token has to fit into a header.
fn token_digest(file: &Path) -> Result<TokenDigest, String> {
    let unfit = format!(
        "it needs one line of {MIN_BYTES} to {MAX_BYTES} printable ASCII characters without \
         spaces; openssl rand -hex 32 makes one"
    );
    let problem = match secret_file::read(file) {
        Ok(line) => {
            let token = line.trim_ascii_end();
            let is_fit =
                token.len() >= MIN_BYTES && token.bytes().all(|byte| byte.is_ascii_graphic());
            if is_fit {
                return Ok(TokenDigest(Sha256::digest(token).into()));
            }
            unfit
        }
        Err(SecretFileError::Empty | SecretFileError::Unfit) => unfit,
        Err(error) => error.to_string(),
    };
    Err(format!(
        "cannot use --admin-token-file {}: {problem}",
        file.display()
    ))
}
