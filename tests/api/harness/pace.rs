//! How much work a hash is, on this machine and in this build.

use std::time::Duration;

use tokio::sync::OnceCell;

use super::{Process, server::Client};

/// A bcrypt cost, and the CPU time of one hash at it.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    pub cost: u32,
    pub hash: Duration,
}

impl Pace {
    /// The lowest cost at which a hash takes so much CPU time, up to the highest
    /// there is.
    pub async fn at_least(hash: Duration) -> Self {
        static MEASURED: OnceCell<Pace> = OnceCell::const_new();
        let mut pace = *MEASURED.get_or_init(Self::measure).await;
        while pace.hash < hash && pace.cost < bienvenue::passwords::MAX_COST {
            pace.cost += 1;
            pace.hash *= 2;
        }
        pace
    }

    /// Each step of the cost doubles the work, so one cost tells of all.
    pub fn setting(self) -> String {
        format!("--bcrypt-cost={}", self.cost)
    }

    /// By CPU time, which other work on the machine hardly changes.
    async fn measure() -> Self {
        let cost = 6;
        let folder = tempfile::tempdir().expect("a temporary folder");
        let process = Process::start(folder.path(), &[&format!("--bcrypt-cost={cost}")]);
        let client = Client::connect(process.address).await;
        let start = process.cpu_time();
        let mut hashes = 0;
        // The clock's ticks are 10 ms.
        while process.cpu_time() < start + Duration::from_millis(200) {
            let refused = client.login("nobody@example.com", "some password").await;
            refused.expect_err("there are no users");
            hashes += 1;
        }
        let hash = (process.cpu_time() - start) / hashes;
        Self { cost, hash }
    }
}
