//! Removes expired sessions, reset tokens and revocations from the database.

use std::time::Duration;

use tokio::{sync::watch, time};

use super::{DATABASE_AWAY, PAUSE};
use crate::{
    auth::{Auth, Sweeper},
    error_chain::with_causes,
};

pub(super) async fn run(auth: Auth, every: Duration, mut stop: watch::Receiver<()>) {
    let mut sweeper = Sweeper::default();
    loop {
        let wait = match auth.sweep(&mut sweeper).await {
            Ok(true) => PAUSE,
            Ok(false) => every,
            Err(error) => {
                tracing::warn!(
                    cause = with_causes(&error),
                    "some of what has expired waits to be removed"
                );
                every.max(DATABASE_AWAY)
            }
        };
        tokio::select! {
            () = time::sleep(wait) => {}
            _ = stop.changed() => return,
        }
    }
}
