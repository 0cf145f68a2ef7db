//! Keeps the decoys of unknown e-mails in step with the stored hashes.

use std::time::Duration;

use tokio::{sync::watch, time};

use super::PAUSE;
use crate::{auth::Auth, error_chain::with_causes};

/// The interval at which new users are considered for the sample.
const SAMPLE_EVERY: Duration = Duration::from_secs(60);

pub(super) async fn run(auth: Auth, mut stop: watch::Receiver<()>) {
    loop {
        let wait = match auth.sample_decoys().await {
            Ok(true) => PAUSE,
            Ok(false) => SAMPLE_EVERY,
            Err(error) => {
                tracing::warn!(
                    cause = with_causes(&error),
                    "the decoys of unknown e-mails could not be sampled from the users; another try follows"
                );
                SAMPLE_EVERY
            }
        };
        tokio::select! {
            () = time::sleep(wait) => {}
            _ = stop.changed() => return,
        }
    }
}
