use std::{net::SocketAddr, path::PathBuf};

use clap::Args;

use super::network;

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
}

impl AdminSettings {
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

    /// The address of the listener, and the file of its token.
    pub fn listener(&self) -> Option<(SocketAddr, &PathBuf)> {
        self.admin_listen.zip(self.admin_token_file.as_ref())
    }
}
