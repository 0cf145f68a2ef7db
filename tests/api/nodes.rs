//! Three nodes on one PostgreSQL: what has ended on one has ended on all.

use std::{sync::Arc, time::Duration};

use tokio::time::interval;

use crate::harness::{
    Database, Random,
    history::{Outcome, Request, Rules},
    nodes::{Load, Nodes},
};

/// How long a node may lag behind another that has ended a session.
pub const BOUND: Duration = Duration::from_secs(1);

/// What makes a run worth its verdict.
const OPERATIONS: usize = 20_000;
const REVOCATIONS: usize = 500;

/// Most callers check: that is what a node is asked most.
const CHECKERS: usize = 8;

#[test]
fn nothing_is_stale() {
    if let Some(database) = Database::postgres_blocking() {
        database.run(is_never_stale);
    }
}

async fn is_never_stale(database: Database) {
    let mut random = Random::from_environment();
    let nodes = Arc::new(Nodes::start(database.url()).await);
    let load = Load::start(&nodes, BOUND, CHECKERS, &mut random).await;
    let history = &nodes.history;
    let mut looks = interval(Duration::from_millis(20));
    while history.count(|_| true) < OPERATIONS
        || history.count(|one| one.request.revokes() && one.outcome == Outcome::Done) < REVOCATIONS
        || history.now() < 5 * BOUND
    {
        looks.tick().await;
    }
    load.stop().await;
    let verdict = history.judge(Rules {
        bound: BOUND,
        faults: false,
    });
    println!("in {:?}, {verdict}", history.now());
    assert_eq!(verdict.violations.len(), 0, "{verdict}");
    assert!(verdict.checks_of_ended > REVOCATIONS, "{verdict}");
    let is_refused_login = |request: &Request| matches!(request, Request::Login { .. });
    assert!(
        history.count(
            |one| is_refused_login(&one.request) && one.outcome == Outcome::InvalidCredentials
        ) > 0,
        "no former password was tried"
    );
}
