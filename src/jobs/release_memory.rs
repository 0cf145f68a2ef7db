//! Drops cached details of changed users, and closes idle database connections.

use std::time::Duration;

use tokio::{sync::watch, time};

use crate::auth::Auth;

/// The interval, which bounds the cost: each run scans all cached details.
const TIDY_EVERY: Duration = Duration::from_secs(5);

pub(super) async fn run(auth: Auth, mut stop: watch::Receiver<()>) {
    loop {
        tokio::select! {
            () = time::sleep(TIDY_EVERY) => auth.tidy(),
            _ = stop.changed() => return,
        }
    }
}
