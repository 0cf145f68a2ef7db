//! The work of a hash, on this machine and in this build.

use std::time::Duration;

use tokio::sync::OnceCell;

use super::{Process, server::Client};

/// A bcrypt cost, and its CPU time per hash.
#[derive(Clone, Copy, Debug)]
pub struct Calibration {
    pub cost: u32,
    pub hash: Duration,
}

impl Calibration {
    /// The lowest cost with at least this CPU time per hash, up to the highest cost.
    pub async fn at_least(hash: Duration) -> Self {
        static MEASURED: OnceCell<Calibration> = OnceCell::const_new();
        let mut calibration = *MEASURED.get_or_init(Self::measure).await;
        while calibration.hash < hash && calibration.cost < bienvenue::passwords::MAX_COST {
            calibration.cost += 1;
            calibration.hash *= 2;
        }
        calibration
    }

    /// The setting for this cost.
    pub fn setting(self) -> String {
        format!("--bcrypt-cost={}", self.cost)
    }

    /// Measures one cost, since each step doubles the work. CPU time is hardly affected by other
    /// work on the machine.
    async fn measure() -> Self {
        let cost = 6;
        let folder = tempfile::tempdir().expect("a temporary folder");
        let process = Process::start(folder.path(), &[&format!("--bcrypt-cost={cost}")]);
        let client = Client::connect(process.address).await;
        let start = process.cpu_time();
        let mut hashes = 0;
        // The clock has ticks of 10 ms.
        while process.cpu_time() < start + Duration::from_millis(200) {
            let refused = client.login("unknown@example.com", "some password").await;
            refused.expect_err("there are no users");
            hashes += 1;
        }
        let hash = (process.cpu_time() - start) / hashes;
        Self { cost, hash }
    }
}
