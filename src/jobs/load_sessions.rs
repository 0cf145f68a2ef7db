//! Loads the session cache from the database, at the start and whenever the log of
//! revocations was interrupted.

use tokio::{sync::watch, time};

use super::DATABASE_AWAY;
use crate::{auth::Auth, error_chain::with_causes};

pub(super) async fn run(auth: Auth, mut stop: watch::Receiver<()>) {
    let mut loads = auth.loads();
    loop {
        let asked = *loads.borrow_and_update();
        let loading = async {
            if let Some(load) = asked {
                while let Err(error) = auth.load_sessions(load).await {
                    tracing::warn!(cause = with_causes(&error), "sessions wait to be loaded");
                    time::sleep(DATABASE_AWAY).await;
                }
            }
            std::future::pending().await
        };
        tokio::select! {
            () = loading => {}
            Ok(()) = loads.changed() => {}
            _ = stop.changed() => return,
        }
    }
}
