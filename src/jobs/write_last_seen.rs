//! Writes when sessions were last used.

use std::time::Duration;

use tokio::{sync::watch, time};

use crate::{auth::Auth, error_chain::with_causes};

/// How often to write which sessions were used.
const WRITE_USES_EVERY: Duration = Duration::from_secs(1);

pub(super) async fn run(auth: Auth, mut stop: watch::Receiver<()>) {
    loop {
        let stopped = tokio::select! {
            () = time::sleep(WRITE_USES_EVERY) => false,
            _ = stop.changed() => true,
        };
        if let Err(error) = auth.write_uses().await {
            tracing::warn!(
                cause = with_causes(&error),
                "when some sessions were used last is not noted"
            );
        }
        if stopped {
            return;
        }
    }
}
