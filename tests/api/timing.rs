//! An unknown e-mail costs the work of a known one. No statistics here: a
//! hash of work or none is told apart by any clock.

use std::time::{Duration, Instant};

use crate::harness::{
    Database, EMAIL, PASSWORD, Process, TestServer, on_each_database, server::Client,
};

/// What refused logins cost.
#[derive(Debug)]
struct Cost {
    /// CPU time of each on average, which other work on the machine hardly changes.
    work: Duration,
    /// How long the fastest took: no answer comes before its work is done.
    fastest: Duration,
}

impl Cost {
    /// At least half the work of another, and waited for.
    fn is_like(&self, other: &Self) -> bool {
        self.work.min(self.fastest) > other.work / 2
    }
}

/// The server with hashes of a cost, and a client of it.
async fn start(database: &Database, cost: &str) -> (Process, Client) {
    let folder = tempfile::tempdir().unwrap();
    let settings = [cost, "--database-url", database.url()];
    let process = Process::start(folder.path(), &settings);
    let client = Client::connect(process.address).await;
    (process, client)
}

/// What logins as two e-mails cost, a few of each in turn.
async fn refused<'a>(logins: [(&'a (Process, Client), &'a str); 2]) -> [Cost; 2] {
    const ROUNDS: u32 = 3;
    const LOGINS: u32 = 5;
    let mut costs = [(); 2].map(|()| Cost {
        work: Duration::ZERO,
        fastest: Duration::MAX,
    });
    for _ in 0..ROUNDS {
        for (((process, client), email), cost) in logins.into_iter().zip(&mut costs) {
            let before = process.cpu_time();
            for _ in 0..LOGINS {
                let start = Instant::now();
                client
                    .login(email, "wrong horse battery")
                    .await
                    .unwrap_err();
                cost.fastest = start.elapsed().min(cost.fastest);
            }
            cost.work += process.cpu_time() - before;
        }
    }
    for cost in &mut costs {
        cost.work /= ROUNDS * LOGINS;
    }
    costs
}

const UNKNOWN: &str = "eve@example.com";

on_each_database! {
    async fn an_unknown_email_costs_a_hash(database: Database) {
        let server = start(&database, "--bcrypt-cost=8").await;
        server.1.register(EMAIL, PASSWORD).await.unwrap();
        let [known, unknown] = refused([(&server, EMAIL), (&server, UNKNOWN)]).await;
        assert!(unknown.is_like(&known) && known.is_like(&unknown), "{unknown:?}, {known:?}");
    }

    /// Even where there is nobody yet.
    async fn the_first_login_of_all_costs_a_hash(database: Database) {
        let empty = start(&database, "--bcrypt-cost=8").await;
        let other = Database::sqlite();
        let inhabited = start(&other, "--bcrypt-cost=8").await;
        inhabited.1.register(EMAIL, PASSWORD).await.unwrap();
        let [nobody, known] = refused([(&empty, EMAIL), (&inhabited, EMAIL)]).await;
        assert!(nobody.is_like(&known), "{nobody:?}, {known:?}");
    }

    /// After a change of the setting, users still have their old cost; a
    /// decoy at the new one would betray every one of them.
    async fn a_decoy_costs_what_is_stored(database: Database) {
        let server = TestServer::start(&database).await;
        server.register().await;
        server.stop().await;
        let server = start(&database, "--bcrypt-cost=10").await;
        let [known, unknown] = refused([(&server, EMAIL), (&server, UNKNOWN)]).await;
        let before = server.0.cpu_time();
        server.1.register("bob@example.com", PASSWORD).await.unwrap();
        let configured = server.0.cpu_time() - before;
        for cost in [known, unknown] {
            assert!(cost.work < configured / 4, "{cost:?} against {configured:?}");
        }
    }

    /// A hash that cannot be used costs the configured work.
    async fn a_damaged_hash_costs_a_hash(database: Database) {
        let server = start(&database, "--bcrypt-cost=8").await;
        for email in [EMAIL, "bob@example.com"] {
            server.1.register(email, PASSWORD).await.unwrap();
        }
        database.execute("UPDATE users SET hashed_password = 'damaged' WHERE id = 1");
        let [damaged, good] = refused([(&server, EMAIL), (&server, "bob@example.com")]).await;
        assert!(damaged.is_like(&good) && good.is_like(&damaged), "{damaged:?}, {good:?}");
    }
}
