//! Removes mails whose reset token has expired from the mail folder.

use std::time::Duration;

use tokio::{sync::watch, time};

use crate::auth::Auth;

/// Runs until stopped. It uses the machine's clock even while that is in doubt: a mail removed too
/// early can be requested again, and a machine that runs for an hour a day never has a trusted clock.
pub(super) async fn run(auth: Auth, every: Duration, mut stop: watch::Receiver<()>) {
    loop {
        auth.remove_expired_mail().await;
        tokio::select! {
            () = time::sleep(every) => {}
            _ = stop.changed() => return,
        }
    }
}
