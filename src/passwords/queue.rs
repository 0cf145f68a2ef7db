//! A bounded number of computations at once, a bounded queue before them.

use std::{sync::Arc, time::Duration};

use thiserror::Error;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    task, time,
};

/// Hands computations to blocking threads, so that the async ones stay free.
#[derive(Clone)]
pub(super) struct Queue {
    /// One for each computation that runs or waits.
    places: Arc<Semaphore>,
    /// One for each that runs; given out first come, first served.
    turns: Arc<Semaphore>,
    max_wait: Duration,
}

/// Why a computation has no result.
#[derive(Debug, Error)]
pub(super) enum QueueError {
    /// No place in the queue, or no turn in time.
    #[error("no capacity in time")]
    Overloaded {
        /// When to try again.
        retry_after: Duration,
    },
    /// It panicked.
    #[error("the computation panicked")]
    Panicked,
}

impl Queue {
    pub(super) fn new(threads: usize, waiting: usize, max_wait: Duration) -> Self {
        Self {
            places: Arc::new(Semaphore::new(threads + waiting)),
            turns: Arc::new(Semaphore::new(threads)),
            max_wait,
        }
    }

    /// Runs a computation when its turn comes. Dropping the future while it
    /// waits takes it out of the queue; one that has begun runs to its end, and
    /// keeps its turn until then.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        compute: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, QueueError> {
        let Ok(place) = Arc::clone(&self.places).try_acquire_owned() else {
            return Err(self.overloaded());
        };
        let turn = Arc::clone(&self.turns).acquire_owned();
        let Ok(Ok(turn)) = time::timeout(self.max_wait, turn).await else {
            return Err(self.overloaded());
        };
        compute_with((place, turn), compute).await
    }

    /// Runs a computation if its turn is now.
    pub(super) async fn run_if_idle<T: Send + 'static>(
        &self,
        compute: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, QueueError> {
        let place = Arc::clone(&self.places).try_acquire_owned();
        let turn = Arc::clone(&self.turns).try_acquire_owned();
        match (place, turn) {
            (Ok(place), Ok(turn)) => compute_with((place, turn), compute).await,
            _ => Err(self.overloaded()),
        }
    }

    fn overloaded(&self) -> QueueError {
        QueueError::Overloaded {
            retry_after: self.max_wait,
        }
    }
}

/// Runs a computation that holds its place and its turn until it ends.
async fn compute_with<T: Send + 'static>(
    held: (OwnedSemaphorePermit, OwnedSemaphorePermit),
    compute: impl FnOnce() -> T + Send + 'static,
) -> Result<T, QueueError> {
    task::spawn_blocking(move || {
        let _held = held;
        compute()
    })
    .await
    .map_err(|_| QueueError::Panicked)
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    /// Fills the only turn until the sender is dropped.
    fn occupy(queue: &Queue) -> (mpsc::Sender<()>, task::JoinHandle<Result<(), QueueError>>) {
        let (release, held) = mpsc::channel::<()>();
        let queue = queue.clone();
        let job = task::spawn(async move {
            queue
                .run(move || {
                    let _ = held.recv();
                })
                .await
        });
        (release, job)
    }

    #[tokio::test]
    async fn what_does_not_fit_is_refused_at_once() {
        let queue = Queue::new(1, 1, Duration::from_secs(60));
        let (release, running) = occupy(&queue);
        let (_, waiting) = occupy(&queue);
        while queue.places.available_permits() > 0 {
            task::yield_now().await;
        }
        assert!(matches!(
            queue.run(|| ()).await,
            Err(QueueError::Overloaded { .. })
        ));

        assert!(matches!(
            queue.run_if_idle(|| ()).await,
            Err(QueueError::Overloaded { .. })
        ));

        // A caller that leaves makes room.
        waiting.abort();
        let _ = waiting.await;
        let (_, waiting) = occupy(&queue);
        while queue.places.available_permits() > 0 {
            task::yield_now().await;
        }
        drop(release);
        running.await.unwrap().unwrap();
        waiting.await.unwrap().unwrap();
        queue.run(|| ()).await.unwrap();
        queue.run_if_idle(|| ()).await.unwrap();
    }

    #[tokio::test]
    async fn a_wait_that_is_too_long_ends() {
        let queue = Queue::new(1, 1, Duration::from_millis(1));
        let (release, running) = occupy(&queue);
        while queue.turns.available_permits() > 0 {
            task::yield_now().await;
        }
        assert!(matches!(
            queue.run(|| ()).await,
            Err(QueueError::Overloaded { .. })
        ));
        drop(release);
        running.await.unwrap().unwrap();
    }

    #[tokio::test]
    async fn a_panic_harms_nobody_else() {
        let queue = Queue::new(1, 0, Duration::from_secs(60));
        let panicked = queue.run(|| panic!("on purpose")).await;
        assert!(matches!(panicked, Err(QueueError::Panicked)));
        queue.run(|| ()).await.unwrap();
    }
}
