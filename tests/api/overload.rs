//! More logins than the cores can hash.

use std::time::Duration;

use tonic::Code;
use tonic_types::StatusExt as _;

use crate::harness::{Database, EMAIL, Expect as _, PASSWORD, TestServer, on_each_database};

on_each_database! {
    /// What does not fit in the queue is told at once when to come back, and
    /// sessions are checked meanwhile.
    async fn the_queue_is_bounded_and_sessions_are_not_held_up(database: Database) {
        let settings = ["--hash-threads=1", "--hash-queue=1"];
        let server = TestServer::start_with(&database, &settings).await;
        server.register().await;
        let session_id = server.login().await.session_id;
        // Dearer hashes from here on.
        server.stop().await;
        let settings = ["--hash-threads=1", "--hash-queue=1", "--bcrypt-cost=10"];
        let server = TestServer::start_with(&database, &settings).await;

        let tries = (0..12).map(|n| {
            let client = server.client.clone();
            tokio::spawn(async move { client.register(&format!("u{n}@example.com"), PASSWORD).await })
        });
        let tries: Vec<_> = tries.collect();
        server.client.check(&session_id).await.unwrap();
        let mut refused = 0;
        for tried in tries {
            if let Err(status) = tried.await.unwrap() {
                let details = Err::<(), _>(status).expect_refusal(Code::ResourceExhausted, "OVERLOADED");
                let delay = details.retry_info().unwrap().retry_delay;
                assert_eq!(delay, Some(Duration::from_secs(2)));
                refused += 1;
            }
        }
        assert!((1..=10).contains(&refused), "{refused} of 12");
        // Afterwards there is room again.
        server.client.register("later@example.com", PASSWORD).await.unwrap();
    }

    /// A caller that leaves the queue makes room for the next.
    async fn a_caller_that_left_is_not_worked_for(database: Database) {
        let settings = ["--hash-threads=1", "--hash-queue=1", "--bcrypt-cost=10", "--hash-max-wait=20s"];
        let server = TestServer::start_with(&database, &settings).await;
        server.register().await;
        let login = |email: &'static str| {
            let client = server.client.clone();
            tokio::spawn(async move { client.login(email, PASSWORD).await.map(drop) })
        };
        // One hashes, one waits, and whoever comes then is refused, until
        // those who wait have left.
        for _ in 0..3 {
            let waiting: Vec<_> = (0..4).map(|_| login(EMAIL)).collect();
            for one in &waiting {
                one.abort();
            }
            for one in waiting {
                let _ = one.await;
            }
        }
        let accepted = async {
            while let Err(status) = server.client.login(EMAIL, PASSWORD).await {
                assert_eq!(status.get_details_error_info().unwrap().reason, "OVERLOADED");
            }
        };
        tokio::time::timeout(Duration::from_secs(10), accepted).await.expect("room");
    }
}
