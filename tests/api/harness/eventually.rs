//! Polling for a condition.

use std::{
    fmt::Display,
    thread,
    time::{Duration, Instant},
};

use tokio::time::sleep;

/// The time limit of conditions that do not measure how soon they hold.
pub const PATIENCE: Duration = Duration::from_secs(60);

const INTERVAL: Duration = Duration::from_millis(5);

/// Polls until a condition holds; panics with its description after [`PATIENCE`].
pub async fn eventually(description: impl Display, condition: impl AsyncFnMut() -> bool) {
    eventually_within(PATIENCE, description, condition).await;
}

/// Like [`eventually`], with a time limit.
pub async fn eventually_within(
    limit: Duration,
    description: impl Display,
    mut condition: impl AsyncFnMut() -> bool,
) {
    let start = Instant::now();
    while !condition().await {
        assert!(
            start.elapsed() < limit,
            "not within {limit:?}: {description}"
        );
        sleep(INTERVAL).await;
    }
}

/// Polls until there is a value; panics with its description after [`PATIENCE`].
pub async fn eventually_some<T>(
    description: impl Display,
    mut value: impl AsyncFnMut() -> Option<T>,
) -> T {
    let start = Instant::now();
    loop {
        if let Some(value) = value().await {
            return value;
        }
        assert!(
            start.elapsed() < PATIENCE,
            "not within {PATIENCE:?}: {description}"
        );
        sleep(INTERVAL).await;
    }
}

/// Like [`eventually`], on a thread that may block.
pub fn eventually_blocking(description: impl Display, mut condition: impl FnMut() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(
            start.elapsed() < PATIENCE,
            "not within {PATIENCE:?}: {description}"
        );
        thread::sleep(INTERVAL);
    }
}
