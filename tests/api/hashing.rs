//! Concurrent hashes do not affect each other.

use std::{
    thread,
    time::{Duration, Instant},
};

use futures_util::future::join_all;
use tonic::Code;

use crate::harness::{
    Calibration, Database, EMAIL, Expect as _, Flood, NEW_PASSWORD, PASSWORD, Process, TestServer,
    foreign_hashes::{FOREIGN, FOREIGN_PASSWORD},
    on_each_database,
    server::Client,
};

on_each_database! {
    /// Each login gets its own result among concurrent ones.
    async fn costs_and_formats_do_not_mix(database: Database) {
        let settings = ["--hash-threads=2", "--hash-max-wait=30s", "--request-timeout=60s"];
        let server = TestServer::start_with(&database, &settings).await;
        let mut passwords: Vec<String> = FOREIGN.map(|_| FOREIGN_PASSWORD.to_owned()).into();
        let mut stored = FOREIGN.map(str::to_owned).to_vec();
        // Some of the service's own hashes, each of a different password.
        for n in 0..24 {
            passwords.push(format!("{n} own password"));
            stored.push(bcrypt::hash(passwords.last().unwrap(), 4 + n % 5).unwrap());
        }
        for (n, stored) in stored.iter().enumerate() {
            database.execute(&format!(
                "INSERT INTO users (email, hashed_password, created_at) \
                 VALUES ('user{n}@example.com', '{stored}', '2026-01-01 00:00:00')"
            ));
        }
        // And some of passwords too long for plain bcrypt.
        for n in passwords.len()..passwords.len() + 4 {
            passwords.push(format!("{n} own password").repeat(10));
            server.client.register(&format!("user{n}@example.com"), &passwords[n]).await.unwrap();
        }
        let (passwords, other) = (&passwords, Client::connect(server.address).await);
        let login = async |client: &Client, n: usize, of: usize| {
            let email = format!("user{n}@example.com");
            let answer = client.login(&email, &passwords[of]).await;
            if passwords[of] == passwords[n] {
                assert_eq!(answer.unwrap().user.unwrap().email, email);
            } else {
                answer.expect_refusal(Code::Unauthenticated, "INVALID_CREDENTIALS");
            }
        };
        // Outdated hashes are replaced in the first round.
        for _ in 0..3 {
            let users = 0..passwords.len();
            let right = join_all(users.clone().map(|n| login(&server.client, n, n)));
            let wrong = users.map(|n| login(&other, n, (n + FOREIGN.len()) % passwords.len()));
            let wrong = join_all(wrong);
            tokio::join!(right, wrong);
        }
    }

    /// A cheap hash begins and ends while the same thread computes an expensive one.
    async fn an_expensive_hash_does_not_delay_cheap_ones(database: Database) {
        let calibration = Calibration::at_least(Duration::from_secs(1)).await;
        let settings = ["--hash-threads=1", "--hash-max-wait=30s", "--request-timeout=60s"];
        let server = TestServer::start_with(&database, &settings).await;
        server.register().await;
        server.client.register("expensive@example.com", PASSWORD).await.unwrap();
        let dearer = database.execute(&format!(
            "UPDATE users SET hashed_password = replace(hashed_password, '$04$', '${:02}$') \
             WHERE email = 'expensive@example.com'",
            calibration.cost
        ));
        assert_eq!(dearer, 1);
        let client = server.client.clone();
        let expensive = tokio::spawn(async move { client.login("expensive@example.com", PASSWORD).await });
        for _ in 0..5 {
            let cheap = server.client.login(EMAIL, NEW_PASSWORD).await;
            cheap.expect_refusal(Code::Unauthenticated, "INVALID_CREDENTIALS");
        }
        assert!(!expensive.is_finished(), "the expensive hash ended first");
        // With a changed cost, the hash matches no password.
        expensive.await.unwrap().expect_refusal(Code::Unauthenticated, "INVALID_CREDENTIALS");
    }
}

/// Session checks take precedence over hashes.
#[tokio::test(flavor = "multi_thread")]
async fn sessions_are_checked_while_every_core_hashes() {
    let folder = tempfile::tempdir().unwrap();
    let calibration = Calibration::at_least(Duration::from_millis(200)).await;
    let settings = [
        "--hash-max-wait=30s",
        "--request-timeout=60s",
        &calibration.setting(),
    ];
    let process = Process::start(folder.path(), &settings);
    let client = Client::connect(process.address).await;
    client.register(EMAIL, PASSWORD).await.unwrap();
    let session_id = client.login(EMAIL, PASSWORD).await.unwrap().session_id;
    let cores = thread::available_parallelism().unwrap().get();
    let flood = Flood::start(process.address, 8 * cores, async |client: Client| {
        client.login(EMAIL, NEW_PASSWORD).await
    });
    let flood = flood.await;
    flood
        .until(|flood| flood.served().iter().any(|&served| served > 0))
        .await;
    let mut checks = Vec::new();
    for _ in 0..20 {
        let start = Instant::now();
        client.check(&session_id).await.unwrap();
        checks.push(start.elapsed());
    }
    checks.sort();
    let median = checks[checks.len() / 2];
    assert!(median < calibration.hash / 2, "{checks:?}");
}
