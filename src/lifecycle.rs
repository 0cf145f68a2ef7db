//! From the first signal to the end.

use std::{io, process};

use tokio::signal::unix::{Signal, SignalKind, signal};

/// SIGTERM and SIGINT, heard from the moment this is made.
pub struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    /// Starts to listen. To be called within the runtime.
    ///
    /// # Errors
    ///
    /// When the operating system refuses.
    pub fn listen() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    /// Resolves at the next signal.
    pub async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }

    /// Resolves at the first signal; from then on, a second one ends the
    /// process at once, with the exit code that is given.
    pub async fn shutdown(mut self, exit_at_once: u8) {
        self.next().await;
        tokio::spawn(async move {
            self.next().await;
            process::exit(exit_at_once.into());
        });
        tracing::info!("stopping: no new requests; a second signal stops at once");
    }
}
