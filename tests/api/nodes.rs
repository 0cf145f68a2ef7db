//! Three nodes on one PostgreSQL: a session ended on one is ended on all.

use std::{sync::Arc, time::Duration};

use tokio::time::interval;

use crate::harness::{
    Database, Random, TestServer,
    history::{Outcome, Request, Rules},
    nodes::{Load, Nodes},
};

/// The bound on a node's lag behind a revocation on another.
pub const BOUND: Duration = Duration::from_secs(1);

/// The minimum for a meaningful run.
const OPERATIONS: usize = 20_000;
const REVOCATIONS: usize = 500;

/// Most callers check sessions, as in production.
const CHECKERS: usize = 8;

#[test]
fn checks_on_all_nodes_are_never_stale() {
    if let Some(database) = Database::postgres_blocking() {
        database.run(run_load);
    }
}

async fn run_load(database: Database) {
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
    let report = history.check(Rules {
        bound: BOUND,
        faults: false,
    });
    println!("in {:?}, {report}", history.now());
    assert_eq!(report.violations.len(), 0, "{report}");
    assert!(report.checks_of_ended > REVOCATIONS, "{report}");
    let is_refused_login = |request: &Request| matches!(request, Request::Login { .. });
    assert!(
        history.count(
            |one| is_refused_login(&one.request) && one.outcome == Outcome::InvalidCredentials
        ) > 0,
        "no former password was tried"
    );
}

/// Two nodes end all other sessions of a user at once: one of them finds the work done. Its
/// reply says the same, so it has to refuse the ended sessions at once, too.
#[tokio::test(flavor = "multi_thread")]
async fn a_node_refuses_sessions_that_another_node_ended_just_before() {
    let Some(database) = Database::postgres().await else {
        return;
    };
    let (one, other) = tokio::join!(TestServer::start(&database), TestServer::start(&database));
    one.register().await;
    let kept = one.login().await.session_id;
    let mut stale = 0;
    for _ in 0..100 {
        let ended = other.login().await.session_id;
        for session_id in [&kept, &ended] {
            other.client.check(session_id).await.unwrap();
        }
        let (first, second) = tokio::join!(
            one.client.revoke_other_sessions(&kept),
            other.client.revoke_other_sessions(&kept),
        );
        first.unwrap();
        second.unwrap();
        stale += usize::from(other.client.check(&ended).await.is_ok());
    }
    assert_eq!(stale, 0);
}
