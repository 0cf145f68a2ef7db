//! Removes expired sessions, reset tokens and revocations from the database.

use std::time::Duration;

use tokio::{sync::watch, time};

use super::{DATABASE_RETRY, PAUSE};
use crate::{
    auth::{Auth, ExpiryRemoval},
    error_chain::with_causes,
};

pub(super) async fn run(auth: Auth, every: Duration, mut stop: watch::Receiver<()>) {
    let mut removal = ExpiryRemoval::default();
    loop {
        let wait = match auth.remove_expired(&mut removal).await {
            Ok(true) => PAUSE,
            Ok(false) => every,
            Err(error) => {
                tracing::warn!(
                    cause = with_causes(&error),
                    "some expired rows could not be removed yet"
                );
                every.max(DATABASE_RETRY)
            }
        };
        tokio::select! {
            () = time::sleep(wait) => {}
            _ = stop.changed() => return,
        }
    }
}
