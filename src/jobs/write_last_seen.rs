//! Writes the times when sessions were last used.

use std::time::Duration;

use tokio::{sync::watch, time};

use crate::{auth::Auth, error_chain::with_causes};

/// The interval between two writes.
const WRITE_EVERY: Duration = Duration::from_secs(1);

pub(super) async fn run(auth: Auth, mut stop: watch::Receiver<()>) {
    loop {
        let stopped = tokio::select! {
            () = time::sleep(WRITE_EVERY) => false,
            _ = stop.changed() => true,
        };
        if let Err(error) = auth.write_last_seen().await {
            tracing::warn!(
                cause = with_causes(&error),
                "the last use of some sessions could not be written"
            );
        }
        if stopped {
            return;
        }
    }
}
