//! Drops cached details of changed users, and closes idle database connections.

use std::time::Duration;

use tokio::{sync::watch, time};

use crate::auth::Auth;

/// How often to make room in memory for users who have changed, which looks at all that
/// is there, and to close idle connections.
const TIDY_EVERY: Duration = Duration::from_secs(5);

pub(super) async fn run(auth: Auth, mut stop: watch::Receiver<()>) {
    loop {
        tokio::select! {
            () = time::sleep(TIDY_EVERY) => auth.tidy(),
            _ = stop.changed() => return,
        }
    }
}
