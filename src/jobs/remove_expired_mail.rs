//! Removes mails whose reset token has expired from the mail folder.

use std::time::Duration;

use tokio::{sync::watch, time};

use crate::auth::Auth;

/// By this machine's clock, trusted or not: a mail that is removed too early is asked for
/// again, and a machine that runs an hour a day has a clock that is never trusted.
pub(super) async fn run(auth: Auth, every: Duration, mut stop: watch::Receiver<()>) {
    loop {
        auth.remove_expired_mail().await;
        tokio::select! {
            () = time::sleep(every) => {}
            _ = stop.changed() => return,
        }
    }
}
