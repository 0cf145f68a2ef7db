//! The reasons why the service cannot start, each with advice.

use std::{
    io::{self, ErrorKind},
    net::SocketAddr,
};

use thiserror::Error;

use crate::{db::OpenError, mail::MailError, passwords::StartError};

/// The reason why the service cannot start, as one line of text.
#[derive(Debug, Error)]
pub enum ServerError {
    /// The public address cannot be bound.
    #[error(
        "cannot listen on {address}: {cause}; {}",
        listen_advice(cause, "--listen")
    )]
    Listen {
        /// The configured address.
        address: SocketAddr,
        /// The error of the operating system.
        cause: io::Error,
    },
    /// The address of the internal listener cannot be bound.
    #[error(
        "cannot listen on {address}: {cause}; {}",
        listen_advice(cause, "--admin-listen")
    )]
    ListenAdmin {
        /// The configured address.
        address: SocketAddr,
        /// The error of the operating system.
        cause: io::Error,
    },
    /// The database cannot be opened.
    #[error(transparent)]
    Database(#[from] OpenError),
    /// The operating system provides no randomness for secrets.
    #[error(
        "the operating system provides no randomness ({0}); check that no sandbox forbids getrandom"
    )]
    NoRandomness(#[from] getrandom::Error),
    /// Threads cannot be started.
    #[error("cannot start threads: {0}; check the limit on processes, or set --hash-threads")]
    NoThreads(io::Error),
    /// A setting is invalid in combination with others.
    #[error("{0}")]
    Setting(String),
    /// Mail cannot be sent.
    #[error("cannot send mail: {0}")]
    Mail(#[from] MailError),
    /// The descriptors for server reflection are invalid.
    #[error("cannot serve reflection: {0}")]
    Reflection(#[from] tonic_reflection::server::Error),
    /// Another operation failed.
    #[error("cannot start: {0}")]
    Io(#[source] io::Error),
}

/// Advice after a failure to bind an address.
fn listen_advice(cause: &io::Error, setting: &str) -> String {
    match cause.kind() {
        ErrorKind::AddrInUse => {
            format!("stop the program that uses it, or choose another with {setting}")
        }
        ErrorKind::AddrNotAvailable => format!(
            "set {setting} to an address of this machine, or to 0.0.0.0 or [::] for all of them"
        ),
        ErrorKind::PermissionDenied => format!(
            "choose a port from 1024 up with {setting}, or grant CAP_NET_BIND_SERVICE for a lower \
             one"
        ),
        _ => format!("choose another with {setting}"),
    }
}

impl From<StartError> for ServerError {
    fn from(error: StartError) -> Self {
        match error {
            StartError::NoRandomness(cause) => Self::NoRandomness(cause),
            StartError::NoThreads(cause) => Self::NoThreads(cause),
        }
    }
}
