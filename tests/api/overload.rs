//! More logins than the hashing capacity.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bienvenue::proto::v1::LoginRequest;
use futures_util::future::join_all;
use tokio::{
    task::{JoinHandle, JoinSet},
    time::sleep,
};
use tonic::{Code, Request};

use crate::harness::{
    Calibration, Call, Database, EMAIL, Expect as _, NEW_PASSWORD, PASSWORD, TestServer,
    eventually, on_each_database, refused, server::Client,
};

/// Far less than the many logins of a test take.
const MAX_WAIT: Duration = Duration::from_secs(1);

/// A server with one hashing thread, and the usual user.
async fn start(database: &Database, max_wait: Duration, calibration: Calibration) -> TestServer {
    let settings = [
        "--hash-threads=1",
        &format!("--hash-max-wait={}ms", max_wait.as_millis()),
        // Longer than a busy machine needs.
        "--request-timeout=60s",
        &calibration.setting(),
    ];
    let server = TestServer::start_with(database, &settings).await;
    server.register().await;
    server
}

on_each_database! {
    /// Sessions are checked while logins queue and are refused, and afterwards logins succeed.
    async fn an_overload_of_logins_does_not_delay_checks(database: Database) {
        let calibration = Calibration::at_least(Duration::from_millis(100)).await;
        let server = start(&database, Duration::from_millis(500), calibration).await;
        let session_id = server.login().await.session_id;
        let tries = (0..40).map(|n| {
            let client = server.client.clone();
            tokio::spawn(async move {
                Call::make(client.register(&format!("u{n}@example.com"), PASSWORD)).await
            })
        });
        let tries: Vec<_> = tries.collect();
        server.client.check(&session_id).await.unwrap();
        assert!(tries.iter().any(|tried| !tried.is_finished()), "the check did not wait");
        let tries = join_all(tries).await.into_iter().map(Result::unwrap);
        let (served, refused): (Vec<_>, Vec<_>) = tries.partition(Call::is_served);
        assert!(!served.is_empty() && !refused.is_empty(), "{} served", served.len());
        server.client.register("later@example.com", PASSWORD).await.unwrap();
    }

    /// For known and unknown users, and every purpose of a hash.
    async fn a_refusal_needs_no_query(database: Database) {
        let settings = [
            "--hash-threads=1",
            "--hash-max-wait=1s",
            "--request-timeout=60s",
        ];
        let server = TestServer::start_with(&database, &settings).await;
        server.register().await;
        let session_id = server.login().await.session_id;
        let reset_token = server.reset_token().await;
        // Keeps the engine full.
        database.execute(
            "UPDATE users SET hashed_password = replace(hashed_password, '$04$', '$16$')",
        );
        let client = &server.client;
        let mut logins = JoinSet::new();
        for _ in 0..16 {
            let client = client.clone();
            logins.spawn(async move {
                loop {
                    let _ = client.login(EMAIL, NEW_PASSWORD).await;
                    sleep(Duration::from_millis(5)).await;
                }
            });
        }
        // All lanes compute expensive logins once registrations keep being refused.
        let (mut number, mut refused) = (0, 0);
        eventually("the engine is full", async || {
            sleep(Duration::from_millis(20)).await;
            let email = format!("user{number}@example.com");
            let call = Call::make(client.register(&email, PASSWORD)).await;
            refused = if call.is_served() { 0 } else { refused + 1 };
            number += 1;
            refused == 10
        })
        .await;
        // Every query of users fails now.
        database.execute("ALTER TABLE users RENAME TO users_away");
        let refusals = [
            ("a known e-mail", client.login(EMAIL, PASSWORD).await.map(drop)),
            ("an unknown e-mail", client.login("eve@example.com", PASSWORD).await.map(drop)),
            ("a registration", client.register("bob@example.com", PASSWORD).await.map(drop)),
            ("a change", client.change_password(&session_id, PASSWORD, NEW_PASSWORD).await.map(drop)),
            ("a reset", client.reset_password(&reset_token, NEW_PASSWORD).await.map(drop)),
        ];
        database.execute("ALTER TABLE users_away RENAME TO users");
        for (what, refusal) in refusals {
            println!("{what}");
            refusal.expect_refusal(Code::ResourceExhausted, "OVERLOADED");
        }
    }
}

/// Refusals are immediate, and admitted calls wait only briefly.
#[tokio::test(flavor = "multi_thread")]
async fn calls_beyond_capacity_are_refused_at_once() {
    let database = Database::sqlite();
    let calibration = Calibration::at_least(Duration::from_millis(100)).await;
    let server = start(&database, MAX_WAIT, calibration).await;
    let alone = Call::make(server.client.login(EMAIL, PASSWORD)).await;
    let mut calls = Vec::new();
    for _ in 0..6 {
        let client = Client::connect(server.address).await;
        let logins = (0..40).map(|n| {
            let (client, password) = (client.clone(), [PASSWORD, NEW_PASSWORD][n % 2]);
            tokio::spawn(async move { Call::make(client.login(EMAIL, password)).await })
        });
        calls.extend(logins);
    }
    let calls = join_all(calls).await.into_iter().map(Result::unwrap);
    let (served, refused): (Vec<_>, Vec<_>) = calls.partition(Call::is_served);
    let slowest = served.iter().map(Call::took).max();
    let slowest = slowest.expect("some are served");
    // A hash among many takes longer than one alone.
    let most = MAX_WAIT + alone.took() * 20;
    assert!(slowest < most, "{slowest:?}; {:?} alone", alone.took());
    assert!(!refused.is_empty(), "no call was refused");
    let late = refused.iter().filter(|call| call.took() > MAX_WAIT / 2);
    let late = late.count();
    assert!(late <= refused.len() / 10, "{late} of {}", refused.len());
    for call in refused {
        assert!(call.retry_after() > Some(Duration::ZERO), "{call:?}");
    }
}

/// A call repeated after its `retry-after` is admitted.
#[tokio::test(flavor = "multi_thread")]
async fn retry_after_is_accurate() {
    let database = Database::sqlite();
    let calibration = Calibration::at_least(Duration::from_millis(100)).await;
    let server = start(&database, Duration::from_secs(3), calibration).await;
    let mut returns = Vec::new();
    // Other work on the machine may slow some of the rounds.
    for _ in 0..6 {
        returns = returns_after_overload(&server).await;
        let refused = returns.iter().filter(|(_, call)| !call.is_served());
        if refused.count() <= returns.len() / 8 {
            return;
        }
    }
    panic!("{returns:?}");
}

/// Overloads a server until a few logins were refused, and repeats each after its
/// `retry-after`; returns these times and the second outcomes.
async fn returns_after_overload(server: &TestServer) -> Vec<(Duration, Call)> {
    let refusals = Arc::new(AtomicUsize::new(0));
    let mut callers: Vec<JoinHandle<Option<_>>> = Vec::new();
    let mut client = server.client.clone();
    while refusals.load(Ordering::Relaxed) < 8 {
        if callers.len() % 32 == 31 {
            client = Client::connect(server.address).await;
        }
        let (client, refusals) = (client.clone(), Arc::clone(&refusals));
        callers.push(tokio::spawn(async move {
            let call = Call::make(client.login(EMAIL, PASSWORD)).await;
            let retry_after = call.retry_after()?;
            refusals.fetch_add(1, Ordering::Relaxed);
            sleep(retry_after).await;
            let again = Call::make(client.login(EMAIL, PASSWORD)).await;
            Some((retry_after, again))
        }));
        // Keeps the refusals few.
        sleep(Duration::from_millis(2)).await;
    }
    let callers = join_all(callers).await.into_iter();
    callers.filter_map(Result::unwrap).collect()
}

/// A call that would time out in the queue is refused instead.
#[tokio::test(flavor = "multi_thread")]
async fn a_deadline_that_cannot_be_met_is_refused_at_once() {
    let database = Database::sqlite();
    let calibration = Calibration::at_least(Duration::from_millis(50)).await;
    let server = start(&database, Duration::from_secs(50), calibration).await;
    // On the same connection, since each has its own queue.
    let (mut flood, served) = (JoinSet::new(), Arc::new(AtomicUsize::new(0)));
    for _ in 0..48 {
        let (client, served) = (server.client.clone(), Arc::clone(&served));
        flood.spawn(async move {
            loop {
                let call = Call::make(client.login(EMAIL, NEW_PASSWORD)).await;
                served.fetch_add(usize::from(call.is_served()), Ordering::Relaxed);
            }
        });
    }
    // By then all the others are queued.
    eventually("a served login", async || {
        served.load(Ordering::Relaxed) > 0
    })
    .await;
    let login = async |deadline| {
        let mut request = Request::new(LoginRequest {
            email: EMAIL.to_owned(),
            password: PASSWORD.to_owned(),
        });
        request.set_timeout(deadline);
        server.client.stub().login(request).await
    };
    let impatient = async {
        for _ in 0..4 {
            // The client itself cancels the call at its deadline.
            let status = login(calibration.hash * 4).await.unwrap_err();
            refused(&status, Code::ResourceExhausted, "OVERLOADED");
        }
    };
    let (served, ()) = tokio::join!(login(Duration::from_secs(55)), impatient);
    served.unwrap();
}
