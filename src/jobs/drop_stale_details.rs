//! Drops cached details of changed users, so that they can be cached again.

use std::time::Duration;

use tokio::{sync::watch, time};

use crate::auth::Auth;

/// The interval, which bounds the cost: each run scans all cached details.
const DROP_EVERY: Duration = Duration::from_secs(5);

pub(super) async fn run(auth: Auth, mut stop: watch::Receiver<()>) {
    loop {
        tokio::select! {
            () = time::sleep(DROP_EVERY) => auth.drop_stale_details(),
            _ = stop.changed() => return,
        }
    }
}
