//! Callers that log in continuously.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::{task::JoinSet, time};

use super::client::Client;

/// A constant number of concurrent logins, until it is stopped.
pub struct Flood {
    callers: JoinSet<()>,
    is_over: Arc<AtomicBool>,
    served: Arc<AtomicU64>,
    failed: Arc<AtomicU64>,
}

impl Flood {
    /// Starts this number of callers for each connection, with the users in rotation.
    pub fn start(clients: &[Client], callers_each: usize, users: usize) -> Self {
        let mut flood = Self {
            callers: JoinSet::new(),
            is_over: Arc::default(),
            served: Arc::default(),
            failed: Arc::default(),
        };
        for number in 0..clients.len() * callers_each {
            let client = clients[number % clients.len()].clone();
            let is_over = Arc::clone(&flood.is_over);
            let served = Arc::clone(&flood.served);
            let failed = Arc::clone(&flood.failed);
            flood.callers.spawn(async move {
                while !is_over.load(Ordering::Relaxed) {
                    let count = match client.login(number % users).await {
                        Ok(_) => &served,
                        Err(_) => &failed,
                    };
                    count.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        flood
    }

    /// Served logins per second, measured over this time.
    pub async fn rate(&self, over: Duration) -> f64 {
        let (start, before) = (Instant::now(), self.served());
        time::sleep(over).await;
        let served = u32::try_from(self.served() - before).expect("a modest number");
        f64::from(served) / start.elapsed().as_secs_f64()
    }

    /// The numbers of served and of failed logins.
    pub fn counts(&self) -> [u64; 2] {
        [self.served(), self.failed.load(Ordering::Relaxed)]
    }

    fn served(&self) -> u64 {
        self.served.load(Ordering::Relaxed)
    }

    /// Lets each caller finish. Returns the number of failed logins.
    pub async fn stop(self) -> u64 {
        self.is_over.store(true, Ordering::Relaxed);
        self.callers.join_all().await;
        self.failed.load(Ordering::Relaxed)
    }
}
