//! Closes idle connections to the database.

use std::time::Duration;

use tokio::{sync::watch, time};

use crate::auth::Auth;

/// The interval at which connections are looked through.
const CLOSE_EVERY: Duration = Duration::from_secs(5);

pub(super) async fn run(auth: Auth, mut stop: watch::Receiver<()>) {
    loop {
        tokio::select! {
            () = time::sleep(CLOSE_EVERY) => auth.close_idle_connections(),
            _ = stop.changed() => return,
        }
    }
}
