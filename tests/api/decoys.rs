//! A login with an unknown e-mail is compared with the stored hash of some user. The choice
//! depends on the e-mail and the database only, so that nodes and restarts agree, as they do
//! for a known e-mail.

use std::time::Duration;

use bienvenue::proto::v1::LoginRequest;
use tokio::time::sleep;
use tonic::{Code, Request};

use crate::harness::{
    Database, NEW_PASSWORD, PASSWORD, TestServer, on_each_database, refused, server::Client,
};

/// Enough for two independent choices to differ.
const UNKNOWN: usize = 40;

const USERS: usize = 6;

/// Far longer than a hash at cost 4 takes, far shorter than one at cost 16.
const DEADLINE: Duration = Duration::from_millis(100);

/// The work of a refused login.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Work {
    /// A hash of cost 4, the tests' default.
    Little,
    /// A hash of cost 16.
    Much,
}

/// Measures the work of a login without doing it: the server refuses at once a hash that
/// would exceed the deadline.
async fn work(client: &Client, email: &str) -> Work {
    let mut refusals = 0;
    loop {
        let mut request = Request::new(LoginRequest {
            email: email.to_owned(),
            password: NEW_PASSWORD.to_owned(),
        });
        request.set_timeout(DEADLINE);
        let status = client.stub().login(request).await.unwrap_err();
        match status.code() {
            Code::Unauthenticated => {
                refused(&status, Code::Unauthenticated, "INVALID_CREDENTIALS");
                return Work::Little;
            }
            Code::ResourceExhausted => {
                refused(&status, Code::ResourceExhausted, "OVERLOADED");
                // The machine may have been busy for a moment.
                refusals += 1;
                if refusals == 3 {
                    return Work::Much;
                }
                sleep(Duration::from_millis(20)).await;
            }
            // The machine was busy, or the estimate was wrong.
            Code::DeadlineExceeded | Code::Cancelled => {}
            other => panic!("{other:?}: {status}"),
        }
    }
}

async fn work_of_unknown(client: &Client) -> Vec<Work> {
    let mut works = Vec::new();
    for number in 0..UNKNOWN {
        works.push(work(client, &format!("unknown{number}@example.com")).await);
    }
    works
}

fn known(number: usize) -> String {
    format!("user{number}@example.com")
}

/// Registers the users, and restarts the server to load them.
async fn start(database: &Database) -> TestServer {
    let server = TestServer::start(database).await;
    for number in 0..USERS {
        server
            .client
            .register(&known(number), PASSWORD)
            .await
            .unwrap();
    }
    server.stop().await;
    TestServer::start(database).await
}

/// Changes the cost of some users' stored hashes.
fn set_cost(database: &Database, cost: u32, condition: &str) {
    database.execute(&format!(
        "UPDATE users SET hashed_password = \
         substr(hashed_password, 1, 4) || '{cost:02}' || substr(hashed_password, 7) \
         WHERE {condition}"
    ));
}

on_each_database! {
    async fn an_unknown_email_costs_the_same_on_every_node_and_after_a_restart(database: Database) {
        let server = start(&database).await;
        set_cost(&database, 16, "id % 2 = 0");
        server.stop().await;
        let server = TestServer::start(&database).await;
        let works = work_of_unknown(&server.client).await;
        for kind in [Work::Little, Work::Much] {
            assert!(works.contains(&kind), "{works:?}");
        }
        for number in 0..USERS {
            let own = [Work::Little, Work::Much][number % 2];
            assert_eq!(work(&server.client, &known(number)).await, own);
        }
        if !database.is_sqlite() {
            let other = TestServer::start(&database).await;
            assert_eq!(work_of_unknown(&other.client).await, works, "on another node");
        }
        server.stop().await;
        let server = TestServer::start(&database).await;
        assert_eq!(work_of_unknown(&server.client).await, works, "after a restart");
    }

    /// A user without a password costs as much as an unknown e-mail.
    async fn a_user_without_a_password_has_their_share_of_the_decoys(database: Database) {
        let server = start(&database).await;
        set_cost(&database, 16, "id % 2 = 0");
        database.execute("UPDATE users SET hashed_password = '!' WHERE id % 2 = 1");
        let works = work_of_unknown(&server.client).await;
        for kind in [Work::Little, Work::Much] {
            assert!(works.contains(&kind), "{works:?}");
        }
        for number in 0..USERS {
            let own = [Work::Little, Work::Much][number % 2];
            assert_eq!(work(&server.client, &known(number)).await, own);
        }
    }

    /// A replaced hash changes the work of its user and of its decoys alike.
    async fn a_decoy_follows_the_stored_hash(database: Database) {
        let server = start(&database).await;
        for (cost, expected) in [(16, Work::Much), (4, Work::Little)] {
            set_cost(&database, cost, "1 = 1");
            let works = work_of_unknown(&server.client).await;
            assert!(works.iter().all(|work| *work == expected), "cost {cost}: {works:?}");
        }
    }
}
