//! Hashes are computed beside each other, and none gets in another's way.

use std::{
    thread,
    time::{Duration, Instant},
};

use futures_util::future::join_all;
use tonic::Code;

use crate::harness::{
    Database, EMAIL, Expect as _, Flood, NEW_PASSWORD, PASSWORD, Pace, Process, TestServer,
    foreign::{FOREIGN, FOREIGN_PASSWORD},
    on_each_database,
    server::Client,
};

on_each_database! {
    /// Whatever is computed beside it, each login has the answer to its own question.
    async fn costs_and_formats_do_not_mix(database: Database) {
        let settings = ["--hash-threads=2", "--hash-max-wait=30s", "--request-timeout=60s"];
        let server = TestServer::start_with(&database, &settings).await;
        let mut passwords: Vec<String> = FOREIGN.map(|_| FOREIGN_PASSWORD.to_owned()).into();
        let mut stored = FOREIGN.map(str::to_owned).to_vec();
        // Some of our own, each with a password that is nobody else's.
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
        // And some that are too long for a plain hash.
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
        // What was outdated is stored anew in the first round.
        for _ in 0..3 {
            let users = 0..passwords.len();
            let right = join_all(users.clone().map(|n| login(&server.client, n, n)));
            let wrong = users.map(|n| login(&other, n, (n + FOREIGN.len()) % passwords.len()));
            let wrong = join_all(wrong);
            tokio::join!(right, wrong);
        }
    }

    /// A cheap hash begins and ends while a dear one is computed by the same thread.
    async fn the_dear_do_not_hold_up_the_cheap(database: Database) {
        let pace = Pace::at_least(Duration::from_secs(1)).await;
        let settings = ["--hash-threads=1", "--hash-max-wait=30s", "--request-timeout=60s"];
        let server = TestServer::start_with(&database, &settings).await;
        server.register().await;
        server.client.register("dear@example.com", PASSWORD).await.unwrap();
        let dearer = database.execute(&format!(
            "UPDATE users SET hashed_password = replace(hashed_password, '$04$', '${:02}$') \
             WHERE email = 'dear@example.com'",
            pace.cost
        ));
        assert_eq!(dearer, 1);
        let client = server.client.clone();
        let dear = tokio::spawn(async move { client.login("dear@example.com", PASSWORD).await });
        for _ in 0..5 {
            let cheap = server.client.login(EMAIL, NEW_PASSWORD).await;
            cheap.expect_refusal(Code::Unauthenticated, "INVALID_CREDENTIALS");
        }
        assert!(!dear.is_finished(), "it came first");
        // With another cost, it is another password's.
        dear.await.unwrap().expect_refusal(Code::Unauthenticated, "INVALID_CREDENTIALS");
    }
}

/// They have the cores before any hash.
#[tokio::test(flavor = "multi_thread")]
async fn sessions_are_checked_while_every_core_hashes() {
    let folder = tempfile::tempdir().unwrap();
    let pace = Pace::at_least(Duration::from_millis(200)).await;
    let settings = [
        "--hash-max-wait=30s",
        "--request-timeout=60s",
        &pace.setting(),
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
    assert!(median < pace.hash / 2, "{checks:?}");
}
