//! An unknown e-mail costs the work of a known one. No statistics here: a
//! hash of work or none is told apart by any clock.

use std::time::{Duration, Instant};

use crate::harness::{Database, EMAIL, PASSWORD, TestServer, on_each_database};

/// The fastest of some refused logins for each of two e-mails, taken in turn:
/// what the work of each costs at least.
async fn refused_in(server: &TestServer, emails: [&str; 2]) -> [Duration; 2] {
    let mut fastest = [Duration::MAX; 2];
    for _ in 0..7 {
        for (email, fastest) in emails.into_iter().zip(&mut fastest) {
            let start = Instant::now();
            server
                .client
                .login(email, "wrong horse battery")
                .await
                .unwrap_err();
            *fastest = start.elapsed().min(*fastest);
        }
    }
    fastest
}

const UNKNOWN: &str = "eve@example.com";

on_each_database! {
    async fn an_unknown_email_costs_a_hash(database: Database) {
        let server = TestServer::start_with(&database, &["--bcrypt-cost=10"]).await;
        server.register().await;
        let [known, unknown] = refused_in(&server, [EMAIL, UNKNOWN]).await;
        assert!(unknown > known / 2 && known > unknown / 2, "{unknown:?} against {known:?}");
    }

    /// Even where there is nobody yet.
    async fn the_first_login_of_all_costs_a_hash(database: Database) {
        let server = TestServer::start_with(&database, &["--bcrypt-cost=11"]).await;
        let [nobody, _] = refused_in(&server, [EMAIL, UNKNOWN]).await;
        let start = Instant::now();
        server.register().await;
        assert!(nobody > start.elapsed() / 8, "{nobody:?} against {:?}", start.elapsed());
    }

    /// After a change of the setting, users still have their old cost; a
    /// decoy at the new one would betray every one of them.
    async fn a_decoy_costs_what_is_stored(database: Database) {
        let server = TestServer::start(&database).await;
        server.register().await;
        server.stop().await;
        let server = TestServer::start_with(&database, &["--bcrypt-cost=11"]).await;
        let [known, unknown] = refused_in(&server, [EMAIL, UNKNOWN]).await;
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
        server.client.register("bob@example.com", PASSWORD).await.unwrap();
        database.execute("UPDATE users SET hashed_password = 'damaged' WHERE id = 1");
        let [damaged, good] = refused_in(&server, [EMAIL, "bob@example.com"]).await;
        assert!(damaged > good / 2 && good > damaged / 2, "{damaged:?} against {good:?}");
    }
}
