//! Loads the session cache from the database, at the start and after each interruption of
//! the log of revocations.

use tokio::{sync::watch, time};

use super::DATABASE_RETRY;
use crate::{auth::Auth, error_chain::with_causes};

pub(super) async fn run(auth: Auth, mut stop: watch::Receiver<()>) {
    let mut loads = auth.loads();
    loop {
        let asked = *loads.borrow_and_update();
        let loading = async {
            if let Some(load) = asked {
                while let Err(error) = auth.load_sessions(load).await {
                    tracing::warn!(
                        cause = with_causes(&error),
                        "sessions could not be loaded yet"
                    );
                    time::sleep(DATABASE_RETRY).await;
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
