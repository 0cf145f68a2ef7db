//! An unknown address costs the work of a known one. No statistics here: a
//! hash of work or none is told apart by any clock.

use std::time::{Duration, Instant};

use crate::harness::{Database, EMAIL, PASSWORD, TestServer, on_each_database};

/// The fastest of some refused logins: what the work costs at least.
async fn refused_in(server: &TestServer, email: &str) -> Duration {
    let mut fastest = Duration::MAX;
    for _ in 0..5 {
        let start = Instant::now();
        server
            .client
            .login(email, "wrong horse battery")
            .await
            .unwrap_err();
        fastest = fastest.min(start.elapsed());
    }
    fastest
}

on_each_database! {
    async fn an_unknown_address_costs_a_hash(database: Database) {
        let server = TestServer::start_with(&database, &["--bcrypt-cost=10"]).await;
        let nobody_registered = refused_in(&server, "eve@example.com").await;
        server.register().await;
        let known = refused_in(&server, EMAIL).await;
        let unknown = refused_in(&server, "eve@example.com").await;
        for work in [nobody_registered, unknown] {
            assert!(work > known / 2 && known > work / 2, "{work:?} against {known:?}");
        }
    }

    /// After a change of the setting, users still have their old cost; a
    /// decoy at the new one would betray every one of them.
    async fn a_decoy_costs_what_is_stored(database: Database) {
        let server = TestServer::start(&database).await;
        server.register().await;
        server.stop().await;
        let server = TestServer::start_with(&database, &["--bcrypt-cost=11"]).await;
        let (known, unknown) = (
            refused_in(&server, EMAIL).await,
            refused_in(&server, "eve@example.com").await,
        );
        let start = Instant::now();
        server.client.register("bob@example.com", PASSWORD).await.unwrap();
        let configured = start.elapsed();
        assert!(known < configured / 4, "{known:?} against {configured:?}");
        assert!(unknown < configured / 4, "{unknown:?} against {configured:?}");
    }

    /// A hash that cannot be used costs the configured work.
    async fn a_damaged_hash_costs_a_hash(database: Database) {
        let server = TestServer::start_with(&database, &["--bcrypt-cost=10"]).await;
        server.register().await;
        let good = refused_in(&server, EMAIL).await;
        database.execute("UPDATE users SET hashed_password = 'damaged'");
        let damaged = refused_in(&server, EMAIL).await;
        assert!(damaged > good / 2 && good > damaged / 2, "{damaged:?} against {good:?}");
    }
}
